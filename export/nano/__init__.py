"""posert-nano, the network of our own: its layers, its graph, its keypoints, and the drawn clip that shows it.

The training is in `training`, which is not in the wheel.
"""
