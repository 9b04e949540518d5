"""posert-nano, the network of our own: its layers, its graph, its maps, and the drawn clip that shows it.

How it is trained stands in `training`, which is not in the wheel; nothing here needs it.
"""
