"""How far each person bends a knee, degrees, 180 = stretched: `python angles.py walk.jsonl` (results with --track)."""

import sys
from collections import defaultdict

import numpy as np

from posert import read_results

if __name__ == "__main__":
    recording = read_results(sys.argv[1])
    joint = [recording.skeleton.names.index(f"left_{part}") for part in ("hip", "knee", "ankle")]
    angles = defaultdict(list)
    for result in recording.results:
        for number, points in enumerate(result.poses.keypoints):
            hip, knee, ankle = points[joint]
            if min(hip[2], knee[2], ankle[2]) > 0:
                above, below = hip[:2] - knee[:2], ankle[:2] - knee[:2]
                cosine = above @ below / (np.linalg.norm(above) * np.linalg.norm(below) + 1e-9)
                who = number if result.poses.ids is None else int(result.poses.ids[number])
                angles[who].append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    for who, seen in sorted(angles.items()):
        low, middle, high = np.percentile(seen, [5, 50, 95])
        print(
            f"person {who}: left knee {low:.0f} to {high:.0f} degrees, {middle:.0f} in the middle, {len(seen)} frames"
        )
