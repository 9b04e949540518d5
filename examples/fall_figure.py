"""What fall_detection.py gets right and wrong: `python fall_figure.py TRAINING TESTS CLIPS FIGURE.png`, and a table.

Each tested clip is a picture, two seconds in, with who was found and the probability; red is wrong.
"""

import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from fall_detection import files, trained, windows

from posert import draw, frames, read_results

SIZE, ACROSS, AT = (192, 108), 8, 16  # px of a picture, pictures in a row, number of the frame shown


def picture(path, clips, chance, right):
    """One clip u8 [H,W,3]."""
    recording = read_results(path)
    result = next(islice(recording.results, AT, None))
    frame = next(iter(frames(str(Path(clips) / path.name.removesuffix(".jsonl")), first=AT, last=AT)))
    small = cv2.resize(draw(frame.bgr, result.poses, recording.skeleton), SIZE, interpolation=cv2.INTER_AREA)
    colour = (70, 150, 60) if right else (40, 40, 200)
    cv2.rectangle(small, (0, 0), (SIZE[0], 15), colour, -1)
    cv2.rectangle(small, (0, 0), (SIZE[0] - 1, SIZE[1] - 1), colour, 3)
    text = f"{path.name.rsplit('-', 1)[0]}  {chance:.2f}"
    cv2.putText(small, text, (5, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
    return small


if __name__ == "__main__":
    training, tests, clips, figure = sys.argv[1:]
    fell, pictures, right, of = trained(training), [], Counter(), Counter()
    for path in files(tests):
        found = windows(path)
        kind, chance = path.name.rsplit("-", 1)[0], fell(found[0][1]) if found else 0.0
        good = (chance > 0.5) == kind.startswith("fall")
        right[kind] += good
        of[kind] += 1
        pictures.append(picture(path, clips, chance, good))
    pictures += [np.full_like(pictures[0], 255)] * (-len(pictures) % ACROSS)
    rows = [np.concatenate(pictures[at : at + ACROSS], axis=1) for at in range(0, len(pictures), ACROSS)]
    cv2.imwrite(figure, np.concatenate(rows))
    print("\n".join(f"{kind} {right[kind]}/{of[kind]}" for kind in of))
    print(f"all {right.total()}/{of.total()}")
