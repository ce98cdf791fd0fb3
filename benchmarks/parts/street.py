"""Label maps like those of a driving scene and of a network that looked at it, for benchmarks that need no data."""

import cv2
import numpy as np

CLASSES, IGNORE = 19, 255
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, TREE, TERRAIN, SKY, PERSON, RIDER, CAR = range(14)


def street(rng: np.random.Generator, height: int = 1024, width: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, target) uint8 train ids 0..18, 255 ignored in the target: polygons as annotators draw them, and the
    same with soft displaced borders, small things lost, others confused and some invented."""
    unit = height / 1024
    target = np.full((height, width), BUILDING, np.uint8)
    horizon = int(height * rng.uniform(0.4, 0.5))
    cv2.rectangle(target, (0, 0), (width, int(horizon * rng.uniform(0.3, 0.7))), SKY, -1)

    def outline(label: int, x: float, y: float, across: float, up: float, corners: int) -> None:
        """A closed polygon about (x, y)."""
        angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        reach = rng.uniform(0.7, 1.1, corners)
        points = np.stack([x + across * reach * np.cos(angle), y + up * reach * np.sin(angle)], axis=1)
        cv2.fillPoly(target, [points.astype(np.int32)], int(label))

    for label, count, size in ((BUILDING, 8, 200), (TREE, 7, 130), (WALL, 1, 80), (FENCE, 2, 60), (TERRAIN, 2, 90)):
        for _ in range(rng.poisson(count)):
            across, up = size * unit * rng.uniform(0.4, 1.4, 2)
            outline(label, rng.uniform(0, width), horizon - 0.4 * up, across, up, 24)
    middle = width * rng.uniform(0.4, 0.6)
    for label, spread in ((SIDEWALK, 1.0), (ROAD, 0.7)):
        corners = [(middle - 40, horizon), (middle + 40, horizon), (middle + spread * width, height)]
        corners.append((middle - spread * width, height))
        cv2.fillPoly(target, [np.array(corners, np.int32)], label)
    for label, count, across, up in (
        (CAR, 7, 90, 50), (PERSON, 6, 16, 48), (RIDER, 1, 16, 40), (18, 2, 35, 30), (14, 0.3, 150, 120),
        (15, 0.3, 160, 130), (16, 0.1, 180, 120), (17, 0.5, 30, 25), (SIGN, 6, 18, 18), (LIGHT, 4, 9, 22),
    ):  # fmt: skip
        for _ in range(rng.poisson(count)):
            scale = unit * rng.uniform(0.4, 1.6)
            lift = 150 * unit if label in (SIGN, LIGHT) else -60 * unit * rng.random()
            outline(label, rng.uniform(0, width), horizon - lift, across * scale, up * scale, 14)
    for _ in range(rng.poisson(8)):
        x, half = int(rng.uniform(0, width)), max(int(rng.uniform(2, 6) * unit), 1)
        cv2.rectangle(target, (x - half, int(horizon - 220 * unit)), (x + half, horizon + int(40 * unit)), POLE, -1)
    prediction = _seen(target, rng, unit)
    edge = max(int(5 * unit), 1)
    for side in (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:], np.s_[int(0.94 * height) :]):
        target[side] = IGNORE  # the border and the car's own bonnet
    for _ in range(rng.poisson(5)):
        outline(IGNORE, rng.uniform(0, width), horizon, 30 * unit, 30 * unit, 10)
    return prediction, target


def _seen(target: np.ndarray, rng: np.random.Generator, unit: float) -> np.ndarray:
    height, width = target.shape
    seen = target.copy()
    for _ in range(rng.poisson(12)):
        x, y = rng.uniform(0, width), height * rng.uniform(0.25, 0.75)
        across, up = unit * rng.uniform(8, 90, 2)
        cv2.ellipse(seen, ((x, y), (across, up), rng.uniform(0, 180)), int(rng.integers(0, CLASSES)), -1)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for coarse, far in ((12, 6), (64, 2.5)):
        columns += far * unit * _waves(rng, coarse, (height, width))
        rows += far * unit * _waves(rng, coarse, (height, width))
    return cv2.remap(seen, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _waves(rng: np.random.Generator, coarse: int, size: tuple[int, int]) -> np.ndarray:
    small = rng.standard_normal((coarse, 2 * coarse), dtype=np.float32)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
