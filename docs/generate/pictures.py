"""The pictures of how.md, made/*.png and .jpg: what decoders see, drawn from networks' maps or from made-up ones.

The decoders are those of the package; nano and the drawn clip are ours, so that all pictures may be given on.
"""

from pathlib import Path

import cv2
import matplotlib
import numpy as np

from posert import Frame, Skeleton, draw, estimate_image, open_model
from posert.export.nano import clip
from posert.postprocess import decoder
from posert.runtime.files.drawing import DrawOptions, drawer
from posert.skeletons import OPENPOSE_18

matplotlib.use("Agg")
from matplotlib import pyplot

FRAME = 96
BLUE, RED, GREY = "#2a6fbb", "#c8402f", "#888888"


def write(folder: Path) -> None:
    """Writes every picture of how.md."""
    pyplot.rcParams.update({"font.size": 9, "figure.dpi": 150, "savefig.bbox": "tight"})
    part_fields(folder / "paf.jpg")
    one_map(folder / "heatmap.png")
    bins(folder / "simcc.png")
    suppressed(folder / "rows.png")


def part_fields(path: Path) -> None:
    """Four panels of one frame: as it is, all heatmaps, all fields, the people."""
    picture = clip.render(FRAME)[0]
    maps = DrawOptions(line_width=0, radius=0)
    with open_model("nano") as model:
        panels = [picture]
        for kind in ("heatmap:all", "paf:all"):
            result = estimate_image(model, picture, maps=[kind])
            panels.append(drawer(model.spec.skeleton, maps, maps=(kind,))(Frame(picture), result))
        panels.append(draw(picture, estimate_image(model, picture).poses, model.spec.skeleton))
    rows = [np.concatenate(panels[at : at + 2], axis=1) for at in (0, 2)]
    cv2.imwrite(str(path), np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 88])


def one_map(path: Path) -> None:
    """A heatmap whose truth lies between cells: where the highest cell is, a quarter further, and DARK."""
    truth, (width, height) = (6.4, 3.7), (14, 9)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    heat = np.exp(-((x - truth[0]) ** 2 + (y - truth[1]) ** 2) / (2 * 1.6**2)).astype(np.float32)
    find, one = decoder("heatmap"), Skeleton(("point",), ())
    figure, axes = pyplot.subplots(figsize=(5.6, 3.4))
    axes.imshow(heat, cmap="Greys", extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.plot(*truth, "o", markersize=13, fillstyle="none", color=GREY, label="where it is")
    for refine, mark, colour in (("none", "s", "#e0902a"), ("quarter", "^", BLUE), ("dark", "x", RED)):
        params = find.Params(refine=refine, kernel_size=7)
        (poses,) = find.decode({"maps": heat[None, None]}, one, params, (width, height))
        axes.plot(*poses.keypoints[0, 0, :2], mark, color=colour, label=f"refine = {refine}", linestyle="")
    axes.legend(loc="lower left", frameon=True)
    axes.set(xticks=range(width), yticks=range(height))
    figure.savefig(path)
    pyplot.close(figure)


def bins(path: Path) -> None:
    """Two rows of bins, one across and one down, and the point that their highest bins say."""
    width, height, ratio, place = 48, 64, 2.0, (29.0, 20.5)
    rng = np.random.default_rng(3)
    across, down = (
        np.exp(-((np.arange(side * ratio) / ratio - at) ** 2) / 18) + rng.uniform(0, 0.06, int(side * ratio))
        for side, at in zip((width, height), place, strict=True)
    )
    find = decoder("simcc")
    outputs = {"simcc_x": across[None, None].astype(np.float32), "simcc_y": down[None, None].astype(np.float32)}
    (poses,) = find.decode(outputs, Skeleton(("point",), ()), find.Params(ratio), (width, height))
    x, y, score = poses.keypoints[0, 0]
    figure, axes = pyplot.subplots(
        2,
        2,
        figsize=(4.6, 5),
        gridspec_kw={"width_ratios": (3, 1), "height_ratios": (1, 4), "wspace": 0.05, "hspace": 0.05},
    )
    axes[0, 0].bar(np.arange(width * ratio) / ratio, across, 0.5, color=BLUE)
    axes[1, 1].barh(np.arange(height * ratio) / ratio, down, 0.5, color=BLUE)
    axes[1, 0].plot(x, y, "x", color=RED, markersize=10, label=f"{x:.1f}, {y:.1f} px, score {score:.2f}")
    axes[1, 0].set(xlim=(0, width), ylim=(height, 0), xlabel="px of the crop")
    axes[0, 0].set(xlim=(0, width), xticks=[], yticks=[])
    axes[1, 1].set(ylim=(height, 0), xticks=[], yticks=[])
    axes[0, 1].axis("off")
    axes[1, 0].legend(loc="lower center")
    figure.savefig(path)
    pyplot.close(figure)


def suppressed(path: Path) -> None:
    """Rows that a one-shot network might give for one frame, and the people left when boxes overlap at most so far."""
    picture, truth, _ = clip.render(FRAME)
    rows = _rows_around(truth)
    find = decoder("rows")
    params = find.Params(("box", "scores", "keypoints"), max_iou=0.6, min_score=0.3)
    (poses,) = find.decode({"rows": rows[None]}, OPENPOSE_18, params, (clip.WIDTH, clip.HEIGHT))
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 2.5))
    for panel, boxes, said in (
        (axes[0], rows[:, :4], f"{len(rows)} rows with a box"),
        (axes[1], poses.boxes_xyxy, f"{len(poses.scores)} people"),
    ):  # fmt: skip
        panel.imshow(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        for left, top, right, bottom in boxes:
            panel.add_patch(
                pyplot.Rectangle((left, top), right - left, bottom - top, fill=False, color=RED, linewidth=0.8)
            )
        panel.set_title(said)
        panel.axis("off")
    figure.savefig(path)
    pyplot.close(figure)


def _rows_around(truth: np.ndarray) -> np.ndarray:
    """Nine rows f32 [P,4+1+54] for each drawn person, boxes a little aside and scores falling with the distance."""
    rng = np.random.default_rng(1)
    rows = []
    for points in truth:
        seen = points[points[:, 2] > 0, :2]
        box = np.concatenate([seen.min(0) - 8, seen.max(0) + 8])
        for _ in range(9):
            aside = rng.normal(0, 5, 4)
            score = 0.95 * np.exp(-np.abs(aside).mean() / 30)
            rows.append(np.concatenate([box + aside, [score], points.reshape(-1)]))
    return np.array(rows, np.float32)
