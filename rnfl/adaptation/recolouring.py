"""Give a picture the colours of another one: what costs milliseconds, and no training.

Pictures are uint8 (H, W, C) of one size and number of channels.
"""

import numpy as np

BORROWED = 0.05  # of the spectrum, from its middle on: the second of the three that FDA compares


def histogram(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Map the grey levels of each channel so that their distribution is that of ``like``.

    Examples
    --------
    >>> histogram(np.uint8([[[0], [1]]]), np.uint8([[[7], [200]]])).ravel().tolist()
    [7, 200]
    """
    made = np.empty_like(picture)
    for channel in range(picture.shape[2]):
        shares, wanted = (_cumulative(one[..., channel]) for one in (picture, like))
        levels = np.flatnonzero(np.diff(wanted, prepend=0))
        table = np.interp(shares, wanted[levels], levels).round().astype(np.uint8)
        made[..., channel] = table[picture[..., channel]]
    return made


def statistics(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Give each channel the mean and SD of ``like``: adaptive instance normalisation of pixels."""
    (mean, sd), (wanted, spread) = (
        (one.mean(axis=(0, 1)), one.std(axis=(0, 1))) for one in (picture, like)
    )
    return _grey((picture - mean) / np.maximum(sd, 1e-6) * spread + wanted)


def fourier(picture: np.ndarray, like: np.ndarray, borrowed: float = BORROWED) -> np.ndarray:
    """Take the lowest frequencies' amplitudes from ``like``, and keep every phase.

    Source: Fourier domain adaptation (Yang & Soatto, CVPR 2020).

    Parameters
    ----------
    borrowed : float
        Half the side of the square of frequencies, as a share of the picture's side.
    """
    spectrum, other = (np.fft.fft2(one, axes=(0, 1)) for one in (picture, like))
    rows, columns = (np.abs(np.fft.fftfreq(side)) <= borrowed for side in picture.shape[:2])
    low = (rows[:, None] & columns)[..., None]
    amplitude = np.where(low, np.abs(other), np.abs(spectrum))
    return _grey(np.fft.ifft2(amplitude * np.exp(1j * np.angle(spectrum)), axes=(0, 1)).real)


RECOLOURINGS = {"histogram": histogram, "statistics": statistics, "fourier": fourier}


def _cumulative(channel: np.ndarray) -> np.ndarray:
    return np.cumsum(np.bincount(channel.ravel(), minlength=256)) / channel.size


def _grey(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
