"""Learns falls from keypoints: `python fall_detection.py TRAINING TESTS...`, each a folder of JSON lines, or one file.

Falls are told by their names, `fall-*.jsonl`. A longer file is looked at in windows of three seconds.
"""

import sys
from pathlib import Path

import numpy as np

from posert import read_results

SECONDS, STEPS = 3.0, 24  # a window, and the moments in it at which people are looked at
PARTS = ("shoulder", "hip")


def track(path):
    """Seconds f64 [T], and of the one person the middles of shoulders and hips f64 [T,2,2], px; NaN = not found."""
    recording = read_results(path)
    pairs = [[recording.skeleton.names.index(f"{side}_{part}") for side in ("left", "right")] for part in PARTS]
    times, places = [], []
    for result in recording.results:
        points = result.poses.keypoints[0] if len(result.poses.scores) else np.zeros((len(recording.skeleton.names), 3))
        middles = [points[pair][points[pair, 2] > 0, :2] for pair in pairs]
        places.append([middle.mean(0) if len(middle) else (np.nan, np.nan) for middle in middles])
        times.append(result.time_s)
    return np.array(times), np.array(places)


def features(times, places, begin):
    """What is known of the window that begins there, f64 [9], in torso lengths and radians; None if too little is."""
    inside = (times >= begin) & (times < begin + SECONDS)
    found = inside & np.isfinite(places).all((1, 2))
    if found.sum() < 6:
        return None
    moments = begin + np.arange(STEPS) * SECONDS / STEPS
    shoulders, hips = ([np.interp(moments, times[found], one[found]) for one in places[:, part].T] for part in (0, 1))
    torso = np.percentile(np.hypot(*np.subtract(shoulders, hips)), 80)
    tilt = np.arctan2(np.abs(shoulders[0] - hips[0]), hips[1] - shoulders[1])  # 0 = upright, pi / 2 = lies
    speeds = [(each[1][4:] - each[1][:-4]).max() / torso for each in (shoulders, hips)]  # down, in half a second
    drops = [(each[1][-6:].mean() - each[1][:6].mean()) / torso for each in (shoulders, hips)]
    late, turned = found[inside][-8:].mean(), (tilt[4:] - tilt[:-4]).max()
    return np.array([*speeds, *drops, tilt[-6:].mean(), tilt.max(), turned, speeds[0] * tilt[-6:].mean(), late])


def windows(path, step=0.5):
    """(begin, features) of every window that is whole, or nearly."""
    times, places = track(path)
    begins = np.arange(times[0], max(times[-1] - SECONDS + 0.5, times[0] + 0.1), step)
    return [(begin, found) for begin in begins if (found := features(times, places, begin)) is not None]


def learn(rows, labels, strength=0.02):
    """Row -> probability of a fall: logistic regression on standardised features, by Newton's steps."""
    mean, deviation = rows.mean(0), rows.std(0) + 1e-9
    inputs, weights = np.c_[(rows - mean) / deviation, np.ones(len(rows))], np.zeros(rows.shape[1] + 1)
    for _ in range(30):
        guess = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (guess - labels) + strength * len(rows) * weights
        curve = (inputs.T * (guess * (1 - guess))) @ inputs + strength * len(rows) * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return lambda row: 1 / (1 + np.exp(-np.append((row - mean) / deviation, 1) @ weights))


def files(place):
    return sorted(Path(place).glob("*.mp4.jsonl")) if Path(place).is_dir() else [Path(place)]


def trained(folder):
    known = [(found[0][1], path.name.startswith("fall")) for path in files(folder) if (found := windows(path))]
    return learn(np.array([row for row, _ in known]), np.array([fell for _, fell in known], float))


if __name__ == "__main__":
    fell = trained(sys.argv[1])
    for path in (path for place in sys.argv[2:] for path in files(place)):
        for begin, row in windows(path):
            print(
                path.name.removesuffix(".jsonl"), f"{begin:.1f}", f"{fell(row):.3f}", "fall" if fell(row) > 0.5 else "-"
            )
