"""One file a stage: its settings and one function `(context, config, *records) -> record`. Wiring only; stages never import stages."""
