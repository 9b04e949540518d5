"""The frame of a video in which people are seen best, drawn: `python best_frame.py VIDEO PICTURE.jpg [MODEL]`."""

import sys

import cv2

from posert import draw, estimate, frames, open_model

if __name__ == "__main__":
    best, seen = None, 0.0
    with open_model(sys.argv[3] if len(sys.argv) > 3 else "nano") as model:
        pictures = list(frames(sys.argv[1], stride=5))
        for picture, result in zip(pictures, estimate(model, pictures), strict=True):
            worth = float(result.poses.keypoints[:, :, 2].sum())  # many people, many keypoints, sure ones
            if worth > seen:
                best, seen = (picture, result), worth
        if best is None:
            sys.exit("nobody was found")
        picture, result = best
        drawn = draw(picture.bgr, result.poses, model.spec.skeleton, boxes=True, palette="people")
    cv2.imwrite(sys.argv[2], drawn)
    print(f"frame {picture.index}, {picture.time_s:.2f} s: {len(result.poses.scores)} people")
