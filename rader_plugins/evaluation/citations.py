"""What to cite for an evaluation, as BibTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["citations"]

_ENTRIES = {
    "rader": """@inproceedings{das2025rader,
  title = {{RaDeR}: Reasoning-aware Dense Retrieval Models},
  author = {Das, Debrup and O'Nuallain, Sam and Rahimi, Razieh},
  booktitle = {Proceedings of EMNLP},
  year = {2025}
}""",
    "bright": """@inproceedings{su2025bright,
  title = {{BRIGHT}: A Realistic and Challenging Benchmark for Reasoning-Intensive Retrieval},
  author = {Su, Hongjin and Yen, Howard and Xia, Mengzhou and others},
  booktitle = {Proceedings of ICLR},
  year = {2025}
}""",
    "beir": """@inproceedings{thakur2021beir,
  title = {{BEIR}: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models},
  author = {Thakur, Nandan and Reimers, Nils and R{\\"u}ckl{\\'e}, Andreas and others},
  booktitle = {Proceedings of NeurIPS, Datasets and Benchmarks},
  year = {2021}
}""",
    "mteb": """@inproceedings{muennighoff2023mteb,
  title = {{MTEB}: Massive Text Embedding Benchmark},
  author = {Muennighoff, Niklas and Tazi, Nouamane and Magne, Lo{\\"i}c and Reimers, Nils},
  booktitle = {Proceedings of EACL},
  year = {2023}
}""",
    "measures": """@inproceedings{macavaney2022irmeasures,
  title = {Streamlining Evaluation with ir-measures},
  author = {MacAvaney, Sean and Macdonald, Craig and Ounis, Iadh},
  booktitle = {Proceedings of ECIR},
  year = {2022}
}""",
    "scorer": """@inproceedings{vangysel2018pytreceval,
  title = {Pytrec\\_eval: An Extremely Fast Python Interface to trec\\_eval},
  author = {Van Gysel, Christophe and de Rijke, Maarten},
  booktitle = {Proceedings of SIGIR},
  year = {2018}
}""",
    "alpha_nDCG": """@inproceedings{clarke2008novelty,
  title = {Novelty and Diversity in Information Retrieval Evaluation},
  author = {Clarke, Charles L. A. and Kolla, Maheedhar and Cormack, Gordon V. and Vechtomova, Olga and others},
  booktitle = {Proceedings of SIGIR},
  year = {2008}
}""",
    "permutation": """@inproceedings{smucker2007comparison,
  title = {A Comparison of Statistical Significance Tests for Information Retrieval Evaluation},
  author = {Smucker, Mark D. and Allan, James and Carterette, Ben},
  booktitle = {Proceedings of CIKM},
  year = {2007}
}""",
    "adjustment": """@article{benjamini1995controlling,
  title = {Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing},
  author = {Benjamini, Yoav and Hochberg, Yosef},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume = {57},
  number = {1},
  year = {1995}
}""",
    "bootstrap": """@article{efron1987better,
  title = {Better Bootstrap Confidence Intervals},
  author = {Efron, Bradley},
  journal = {Journal of the American Statistical Association},
  volume = {82},
  number = {397},
  year = {1987}
}""",
}


def citations(manifests: Iterable[Mapping[str, Any]], measures: Iterable[str], *, tested: bool) -> str:
    """Return BibTeX of the data sets, models, measures and tests that were used, as far as their sources are known.

    Args:
        manifests: Of the evaluations.
        measures: Names of the measures that are reported.
        tested: Whether runs were tested against each other.
    """
    keys = ["measures", "scorer", "bootstrap"]
    for manifest in manifests:
        name = str(manifest["dataset"]["name"]).lower()
        keys += [key for key in ("bright", "beir", "mteb") if name.startswith(key)]
        if "rader" in str((manifest["retriever"].get("recipe") or {}).get("model", "")).lower():
            keys.append("rader")
    if any(name.startswith("alpha_") for name in measures):
        keys.append("alpha_nDCG")
    if tested:
        keys += ["permutation", "adjustment"]
    return "\n\n".join(text for key, text in _ENTRIES.items() if key in keys)
