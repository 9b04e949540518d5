"""Who crosses a line, and which way: `python crossings.py walk.jsonl X` (px; results with --track)."""

import sys

import numpy as np

from posert import read_results

if __name__ == "__main__":
    recording, line = read_results(sys.argv[1]), float(sys.argv[2])
    hips = [recording.skeleton.names.index(name) for name in ("left_hip", "right_hip")]
    sides, counts = {}, {"right": 0, "left": 0}
    for result in recording.results:
        for number, points in enumerate(result.poses.keypoints):
            found = points[hips][points[hips, 2] > 0, 0]
            if not len(found):
                continue
            who, side = int(result.poses.ids[number]), bool(np.mean(found) > line)
            if sides.setdefault(who, side) != side:
                way = "right" if side else "left"
                sides[who] = side
                counts[way] += 1
                print(f"{result.time_s:6.2f} s: person {who} to the {way}")
    print(f"{counts['right']} to the right, {counts['left']} to the left")
