"""zipspark chooses the low-redundancy subset of a language-model training pool by compression ratio."""
