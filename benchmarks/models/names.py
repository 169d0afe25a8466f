"""What the contenders are called in results, tables and plots."""

KSDIFF, NO_PRIOR = "ksdiff-s", "ksdiff-s without prior"
SMALL, LARGE = "pixel U-Net, matched", "pixel U-Net, 15.5 M"
