"""The rules that drop people found twice, after a decoder. A file here is a rule by its name."""
