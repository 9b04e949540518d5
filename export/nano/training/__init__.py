"""The training of posert-nano: data, crops, drawn scenes, the loop, its measure. Not in the wheel."""
