"""What the parts of KSDiff are worth: configs of ksdiff ablate, and where their results go."""
