"""What to cite for an evaluation, as BibTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["citations"]

_ENTRIES = {
    "rader": """@inproceedings{das2025rader,
  title = {{RaDeR}: Reasoning-aware Dense Retrieval Models},
  author = {Das, Debrup and O'Nuallain, Sam and Rahimi, Razieh},
  booktitle = {Proceedings of the 2025 Conference on Empirical Methods in Natural Language Processing},
  pages = {19981--20008},
  year = {2025}
}""",
    "bright": """@inproceedings{su2025bright,
  title = {{BRIGHT}: A Realistic and Challenging Benchmark for Reasoning-Intensive Retrieval},
  author = {Su, Hongjin and Yen, Howard and Xia, Mengzhou and Shi, Weijia and Muennighoff, Niklas and Wang, Han-yu and
            Liu, Haisu and Shi, Quan and Siegel, Zachary S. and Tang, Michael and Sun, Ruoxi and Yoon, Jinsung and
            Arik, Sercan {\\"O}. and Chen, Danqi and Yu, Tao},
  booktitle = {The Thirteenth International Conference on Learning Representations},
  year = {2025}
}""",
    "bright-pro": """@article{zhao2026rethinking,
  title = {Rethinking Reasoning-Intensive Retrieval: Evaluating and Advancing Retrievers in Agentic Search Systems},
  author = {Zhao, Yilun and Wei, Jinbiao and Song, Tingyu and Zhang, Siyue and Zhao, Chen and Cohan, Arman},
  journal = {arXiv preprint arXiv:2605.04018},
  year = {2026}
}""",
    "beir": """@inproceedings{thakur2021beir,
  title = {{BEIR}: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models},
  author = {Thakur, Nandan and Reimers, Nils and R{\\"u}ckl{\\'e}, Andreas and Srivastava, Abhishek and
            Gurevych, Iryna},
  booktitle = {Thirty-fifth Conference on Neural Information Processing Systems, Datasets and Benchmarks Track
               (Round 2)},
  year = {2021}
}""",
    "mteb": """@inproceedings{muennighoff2023mteb,
  title = {{MTEB}: Massive Text Embedding Benchmark},
  author = {Muennighoff, Niklas and Tazi, Nouamane and Magne, Lo{\\"i}c and Reimers, Nils},
  booktitle = {Proceedings of the 17th Conference of the European Chapter of the Association for Computational
               Linguistics},
  year = {2023}
}""",
    "measures": """@inproceedings{macavaney2022irmeasures,
  title = {Streamlining Evaluation with ir-measures},
  author = {MacAvaney, Sean and Macdonald, Craig and Ounis, Iadh},
  booktitle = {European Conference on Information Retrieval},
  pages = {305--310},
  year = {2022}
}""",
    "scorer": """@inproceedings{vangysel2018pytreceval,
  title = {Pytrec\\_eval: An Extremely Fast Python Interface to trec\\_eval},
  author = {Van Gysel, Christophe and de Rijke, Maarten},
  booktitle = {The 41st International ACM SIGIR Conference on Research and Development in Information Retrieval},
  pages = {873--876},
  doi = {10.1145/3209978.3210065},
  year = {2018}
}""",
    "alpha_nDCG": """@inproceedings{clarke2008novelty,
  title = {Novelty and Diversity in Information Retrieval Evaluation},
  author = {Clarke, Charles L. A. and Kolla, Maheedhar and Cormack, Gordon V. and Vechtomova, Olga and
            Ashkan, Azin and B{\\"u}ttcher, Stefan and MacKinnon, Ian},
  booktitle = {Proceedings of the 31st Annual International ACM SIGIR Conference on Research and Development in
               Information Retrieval},
  pages = {659--666},
  doi = {10.1145/1390334.1390446},
  year = {2008}
}""",
    "permutation": """@inproceedings{smucker2007comparison,
  title = {A Comparison of Statistical Significance Tests for Information Retrieval Evaluation},
  author = {Smucker, Mark D. and Allan, James and Carterette, Ben},
  booktitle = {Proceedings of the Sixteenth ACM Conference on Information and Knowledge Management},
  pages = {623--632},
  doi = {10.1145/1321440.1321528},
  year = {2007}
}""",
    "adjustment": """@article{benjamini1995controlling,
  title = {Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing},
  author = {Benjamini, Yoav and Hochberg, Yosef},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume = {57},
  number = {1},
  pages = {289--300},
  year = {1995}
}""",
    "bootstrap": """@article{efron1987better,
  title = {Better Bootstrap Confidence Intervals},
  author = {Efron, Bradley},
  journal = {Journal of the American Statistical Association},
  volume = {82},
  number = {397},
  pages = {171--185},
  year = {1987}
}""",
}


def citations(manifests: Iterable[Mapping[str, Any]], measures: Iterable[str], *, tested: bool) -> str:
    """Return BibTeX of the data sets, models, measures and tests that were used, as far as their sources are known.

    Args:
        manifests: Manifests of the evaluations to cite for.
        measures: Names of the measures that are reported.
        tested: Whether runs were tested against each other.
    """
    keys = ["measures", "scorer", "bootstrap"]
    for manifest in manifests:
        name = str(manifest["dataset"]["name"]).lower()
        keys += [key for key in ("bright", "bright-pro", "beir", "mteb") if name.startswith(key)]
        if "rader" in str((manifest["retriever"].get("recipe") or {}).get("model", "")).lower():
            keys.append("rader")
    if any(name.startswith(("alpha_", "weighted_alpha_")) for name in measures):
        keys.append("alpha_nDCG")
    if tested:
        keys += ["permutation", "adjustment"]
    return "\n\n".join(text for key, text in _ENTRIES.items() if key in keys)
