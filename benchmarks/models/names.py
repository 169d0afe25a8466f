"""What the contenders are called in results, tables and plots."""

KSDIFF, NO_PRIOR, BIG = "ksdiff-s", "ksdiff-s without prior", "ksdiff-b"
FEATURES = "feature modulation (DiffIR)"
PIPELINE = "ksdiff-s through ksdiff.Sharpener"
UNFOLD = "lagnet on unfold"
SMALL, LARGE = "pixel U-Net, matched", "pixel U-Net, 15.5 M"
EAGER, BF16, COMPILED = "eager", "bf16", "compiled"
BOTH = f"{COMPILED} {BF16}"
QUALITY = "quality-"  # begins the name of a section of scores; the band count follows
