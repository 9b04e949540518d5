"""The systems: official weights -> graph and metadata. A file or folder here is a system by its name, and nothing else
has to be said; names of systems stay in this folder.
"""
