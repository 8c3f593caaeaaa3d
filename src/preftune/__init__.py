"""preftune: Direct Preference Heads and Context-PEFT, reproduced from raw data to report."""
