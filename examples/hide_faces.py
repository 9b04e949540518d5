"""Blurs every head that is found (look the result over): `python hide_faces.py IN.mp4 OUT.mp4 [MODEL]`."""

import sys

import cv2
import numpy as np

from posert import estimate, frames, open_model

HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")

if __name__ == "__main__":
    source, target = sys.argv[1:3]
    pictures = list(frames(source))
    (height, width), writer = pictures[0].bgr.shape[:2], None
    rate = (len(pictures) - 1) / max(pictures[-1].time_s - pictures[0].time_s, 1e-3)
    writer = cv2.VideoWriter(target, cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    hidden = 0
    with open_model(sys.argv[3] if len(sys.argv) > 3 else "nano") as model:
        parts = [model.spec.skeleton.names.index(name) for name in HEAD]
        for picture, result in zip(pictures, estimate(model, pictures), strict=True):
            shown = picture.bgr.copy()
            for points, box in zip(result.poses.keypoints, result.poses.boxes_xyxy, strict=True):
                found = points[parts][points[parts, 2] > 0, :2]
                if len(found):
                    radius = max(12, int(0.09 * (box[3] - box[1])))
                    mask = np.zeros(shown.shape[:2], np.uint8)
                    cv2.circle(mask, tuple(found.mean(0).astype(int).tolist()), radius, 255, -1)
                    shown[mask > 0] = cv2.blur(shown, (2 * radius + 1, 2 * radius + 1))[mask > 0]
                    hidden += 1
            writer.write(shown)
    writer.release()
    print(f"{hidden} heads in {len(pictures)} frames")
