"""Recognise handwritten digits: a grid search from raw pixels to a model file and a report.

    load -> split -> train[0..11] -> pick -> evaluate
    grid ----------/

Every task is cached, so a run computes only what no run of the project has computed before:

    celesta run examples/digits.py digits                         # 12 trainings
    celesta run examples/digits.py digits                         # answered from the cache
    celesta run examples/digits.py digits --c '[1, 3, 10, 30, 100]'    # trains the three new points
"""

import base64
import io
from dataclasses import dataclass
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.svm import SVC

from celesta import File, current, task, unmapped, workflow


@dataclass(frozen=True)
class Point:
    """One point of the grid: the hyper-parameters of one training."""

    c: float
    gamma: float


class Dataset(NamedTuple):
    images: np.ndarray  # (n, 64): 8 x 8 pixels from 0 to 16
    labels: np.ndarray  # (n,): the digit that was written


class Parts(NamedTuple):
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class Trained(NamedTuple):
    model: File
    accuracy: float  # mean over the folds of the training part


class Best(NamedTuple):
    model: File
    point: Point
    leaderboard: pd.DataFrame


class Result(NamedTuple):
    model: File
    accuracy: float  # on digits that no training has seen
    point: Point
    leaderboard: pd.DataFrame


@task(cache=True)
def load() -> Dataset:
    """1,797 digits that scikit-learn ships: nothing is downloaded."""
    images, labels = load_digits(return_X_y=True)
    return Dataset(images, labels)


@task(cache=True)
def split(images: np.ndarray, labels: np.ndarray, test_share: float, seed: int) -> Parts:
    """Put a share aside for the final examination, the same share of each digit."""
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=test_share, random_state=seed, stratify=labels
    )
    return Parts(train_images, train_labels, test_images, test_labels)


@task(cache=True)
def grid(c: list[float], gamma: list[float]) -> list[Point]:
    """Every combination. Each item of a list is keyed by itself, so a longer list keeps what was trained."""
    return [Point(one_c, one_gamma) for one_c in c for one_gamma in gamma]


@task(cache=True, retries=1, timeout=300)
def train(images: np.ndarray, labels: np.ndarray, point: Point, folds: int = 3) -> Trained:
    """Fit one support vector machine, and judge it by cross-validation."""
    model = SVC(C=point.c, gamma=point.gamma)
    scores = cross_val_score(model, images, labels, cv=StratifiedKFold(folds))
    for fold, score in enumerate(scores):
        current().log_metric("fold_accuracy", float(score), step=fold)
    accuracy = float(scores.mean())
    current().log_metric("accuracy", accuracy)
    print(f"C={point.c:g} gamma={point.gamma:g}: {accuracy:.4f}")

    joblib.dump(model.fit(images, labels), "model.joblib")
    return Trained(File("model.joblib"), accuracy)


@task(cache=True)
def pick(models: list[File], accuracies: list[float], points: list[Point]) -> Best:
    """The most accurate model; of equals, the first of the grid."""
    best = int(np.argmax(accuracies))
    table = pd.DataFrame({"c": [p.c for p in points], "gamma": [p.gamma for p in points], "accuracy": accuracies})
    leaderboard = table.sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)
    return Best(models[best], points[best], leaderboard)


@task(cache=True)
def evaluate(model: File, images: np.ndarray, labels: np.ndarray) -> float:
    """Examine the chosen model on the part put aside, and report what it confuses with what."""
    counts = confusion_matrix(labels, joblib.load(model.path).predict(images))
    accuracy = float(np.trace(counts) / counts.sum())
    current().log_metric("accuracy", accuracy)
    for digit, recall in enumerate(np.diag(counts) / counts.sum(axis=1)):
        current().log_metric("recall", float(recall), step=digit)

    picture = base64.b64encode(draw(counts)).decode()
    wrong = int(counts.sum() - np.trace(counts))
    current().report(
        f"<h1>Digits: {accuracy:.2%} right</h1><p>{wrong} of {counts.sum()} unseen digits were misread.</p>"
        f'<img alt="Confusion matrix: written digit by read digit" src="data:image/png;base64,{picture}">'
    )
    return accuracy


def draw(counts: np.ndarray) -> bytes:
    """The confusion matrix as a PNG picture. Code that a task reaches is part of its version."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="read", ylabel="written", xticks=range(10), yticks=range(10))
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, str(count), ha="center", va="center", color="white" if row == column else "black")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()


@workflow
def digits(
    c: list[float] = [1.0, 3.0, 10.0, 30.0],
    gamma: list[float] = [0.0003, 0.001, 0.003],
    test_share: float = 0.25,
    seed: int = 7,
) -> Result:
    """Find the best support vector machine for handwritten digits."""
    data = load()
    parts = split(images=data.images, labels=data.labels, test_share=test_share, seed=seed)
    points = grid(c=c, gamma=gamma)
    trained = train.map(images=unmapped(parts.train_images), labels=unmapped(parts.train_labels), point=points)
    best = pick(models=trained.model, accuracies=trained.accuracy, points=points)
    accuracy = evaluate(model=best.model, images=parts.test_images, labels=parts.test_labels)
    return Result(best.model, accuracy, best.point, best.leaderboard)
