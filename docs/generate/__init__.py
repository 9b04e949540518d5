"""What the site says from the code itself: each module writes its pages into a folder, by `write(folder)`."""
