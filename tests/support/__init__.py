"""What tests share: encoders without a model, tiny models, servers that inject faults, processes that are killed."""
