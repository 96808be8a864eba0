"""Quaternions of rotations, scalar first: ``(w, x, y, z)`` with ``w = cos(angle / 2)``.

Every function takes arrays of shape (..., 4) of any real dtype and broadcasts; results are float64. Rotations are active and
right-handed: ``rotv(v, q)`` is q v q^-1. Where a quaternion stands for a rotation its length does not matter, only that it is
not zero; q and -q are the same rotation.
"""

import numpy as np

__all__ = ["Slerp", "azi2quat", "conj", "invq", "quat2azi", "quat2rot", "quat_mul", "rot2quat", "rotv"]

_UNIT = 4 * np.finfo(float).eps     # lengths so close to one are not touched: what is unit already stays as it is
_ORTHOGONAL = 1e-6                  # largest error of R R^T - 1 that passes for a rotation matrix


def invq(q):
    """Inverse of a quaternion: conj(q) / abs(q)^2, so that q q^-1 = 1.

    Parameters
    ----------
    q : array_like of shape (..., 4)
        Not zero.

    Returns
    -------
    ndarray of shape (..., 4), float64

    Raises
    ------
    ValueError
        Another shape, something not finite, or a zero quaternion.
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> invq([0, 0, 2, 0])
    array([ 0. ,  0. , -0.5,  0. ])
    """
    scale, q = _scaled(_quaternions(q, "q"), "q")
    return _conjugate(q) / (np.sum(q * q, axis=-1, keepdims=True) * scale)


def quat_mul(q1, q2):
    """Hamilton product q1 q2: the rotation q2 followed by q1.

    Parameters
    ----------
    q1, q2 : array_like of shape (..., 4)
        Broadcast against each other.

    Returns
    -------
    ndarray of shape (..., 4), float64

    Raises
    ------
    ValueError
        Another shape, shapes that do not broadcast, or something not finite.
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> quat_mul([0, 1, 0, 0], [0, 0, 1, 0])
    array([0., 0., 0., 1.])
    """
    return _product(*_matched(q1=_quaternions(q1, "q1"), q2=_quaternions(q2, "q2")))


def conj(q):
    """Conjugate of a quaternion: the inverse of one of length one.

    Parameters
    ----------
    q : array_like of shape (..., 4)
        Zero is allowed.

    Returns
    -------
    ndarray of shape (..., 4), float64

    Raises
    ------
    ValueError
        Another shape, or something not finite.
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> conj([1, 2, 3, 4])
    array([ 1., -2., -3., -4.])
    """
    return _conjugate(_quaternions(q, "q"))


def quat2azi(q):
    """Angle and axis of the rotation that a quaternion stands for.

    Parameters
    ----------
    q : array_like of shape (..., 4)
        Not zero.

    Returns
    -------
    ndarray of shape (..., 4), float64
        ``(angle, x, y, z)``: angle in [0, 2 pi] [radian] about an axis of length one. Above pi for w < 0, so that `azi2quat`
        gives back q itself and not -q. Where there is no rotation the axis is z.

    Raises
    ------
    ValueError
        Another shape, something not finite, or a zero quaternion.
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> quat2azi([1, 0, 0, 0])
    array([0., 0., 0., 1.])
    >>> quat2azi([1, 1, 0, 0]).round(6)
    array([1.570796, 1.      , 0.      , 0.      ])
    """
    _, q = _scaled(_quaternions(q, "q"), "q")
    w, v = q[..., :1], q[..., 1:]
    sine = _norm(v)
    angle = 2 * np.arctan2(sine, w)
    axis = np.where(sine > 0, v / np.where(sine > 0, sine, 1), (0.0, 0.0, 1.0))
    return np.concatenate([angle, axis / _norm(axis)], axis=-1)


def azi2quat(azi):
    """Quaternion of a rotation by an angle about an axis.

    Parameters
    ----------
    azi : array_like of shape (..., 4)
        ``(angle, x, y, z)``: angle [radian] and an axis of any length; it may be zero only where the angle is.

    Returns
    -------
    ndarray of shape (..., 4), float64
        Of length one.

    Raises
    ------
    ValueError
        Another shape, something not finite, or no axis for an angle that is not zero.
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> import numpy as np
    >>> azi2quat([np.pi, 0, 0, 3]).round(12)
    array([0., 0., 0., 1.])
    """
    azi = _quaternions(azi, "azi")
    angle, axis = azi[..., :1], azi[..., 1:]
    largest = np.abs(axis).max(axis=-1, keepdims=True)
    missing = (largest == 0) & (angle != 0)
    if missing.any():
        raise ValueError(f"azi has the angle {angle[missing][0]:g}, but the axis (0, 0, 0)")
    axis = axis / np.where(largest > 0, largest, 1)
    length = _norm(axis)
    return np.concatenate([np.cos(angle / 2), np.sin(angle / 2) * axis / np.where(length > 0, length, 1)], axis=-1)


def quat2rot(q):
    """Rotation matrix R of a quaternion: R v is v rotated.

    Parameters
    ----------
    q : array_like of shape (..., 4)
        Not zero.

    Returns
    -------
    ndarray of shape (..., 3, 3), float64

    Raises
    ------
    ValueError
        Another shape, something not finite, or a zero quaternion.
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> quat2rot([0, 0, 0, 1])
    array([[-1.,  0.,  0.],
           [ 0., -1.,  0.],
           [ 0.,  0.,  1.]])
    """
    _, q = _scaled(_quaternions(q, "q"), "q")
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [[w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z]]
    # Divided by the squared length at the end: exact for quarter and half turns, whose components have no exact root.
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2) / np.sum(q * q, axis=-1)[..., None, None] + 0.0


def rot2quat(rot):
    """Quaternion of a rotation matrix, to full precision for every rotation, half turns too.

    Parameters
    ----------
    rot : array_like of shape (..., 3, 3)
        Orthogonal (to 1e-6), determinant +1.

    Returns
    -------
    ndarray of shape (..., 4), float64
        Of length one, w >= 0.

    Raises
    ------
    ValueError
        Another shape, something not finite, or no rotation matrix.
    TypeError
        Something that is not a real number.

    Notes
    -----
    Each of the four components, squared, follows from the diagonal. The largest of them is the divisor for the other three, as
    S. W. Shepperd has it (1978, https://doi.org/10.2514/3.55767b): it is never below one half.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> rot2quat([[-1, 0, 0], [0, 1, 0], [0, 0, -1]])
    array([0., 0., 1., 0.])
    """
    r = _real(rot, "rot", (3, 3))
    wrong = (np.abs(r @ np.swapaxes(r, -1, -2) - np.eye(3)).max(axis=(-1, -2)) > _ORTHOGONAL) | (np.linalg.det(r) < 0)
    if np.any(wrong):
        raise ValueError(f"rot must be a rotation matrix (orthogonal, determinant +1), not {r[wrong][0].tolist()}")
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    # Row k is 4 q_k times the quaternion: all four are the same up to length and sign, the one of the largest q_k is exact.
    table = np.stack([np.stack(row, axis=-1) for row in (
        (1 + xx + yy + zz, wx, wy, wz), (wx, 1 + xx - yy - zz, xy, xz),
        (wy, xy, 1 - xx + yy - zz, yz), (wz, xz, yz, 1 - xx - yy + zz))], axis=-2)
    largest = np.diagonal(table, axis1=-2, axis2=-1).argmax(axis=-1)
    q = np.take_along_axis(table, largest[..., None, None], axis=-2)[..., 0, :]
    return np.where(q[..., :1] < 0, -q, q) / _norm(q) + 0.0


def rotv(vector, q):
    """Rotate a vector: q v q^-1.

    Parameters
    ----------
    vector : array_like of shape (..., 3)
        ``(x, y, z)``, in any unit.
    q : array_like of shape (..., 4)
        Not zero. Broadcast against `vector`.

    Returns
    -------
    ndarray of shape (..., 3), float64
        In the same unit.

    Raises
    ------
    ValueError
        Another shape, shapes that do not broadcast, something not finite, or a zero quaternion.
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat.

    Examples
    --------
    >>> rotv([1, 0, 0], [1, 0, 0, 1])
    array([0., 1., 0.])
    """
    v, q = _matched(vector=_real(vector, "vector", (3,)), q=_quaternions(q, "q"))
    return (quat2rot(q) @ v[..., None])[..., 0]


def Slerp(q1, q2, t):
    """Rotation at the fraction `t` of the way from `q1` to `q2`, along the shorter arc and at constant speed.

    Parameters
    ----------
    q1, q2 : array_like of shape (..., 4)
        Not zero.
    t : float or array_like of shape (...)
        From 0 (`q1`) to 1 (`q2`, or -`q2` where that is nearer: the same rotation).

    Returns
    -------
    ndarray of shape (..., 4), float64
        Of length one. `q1` itself, to the last bit, where both are the same rotation of length one.

    Raises
    ------
    ValueError
        Another shape, shapes that do not broadcast, something not finite, a zero quaternion, or `t` outside of [0, 1].
    TypeError
        Something that is not a real number.

    References
    ----------
    "image" toolbox, image.quat. K. Shoemake (1985), https://doi.org/10.1145/325334.325242

    Examples
    --------
    >>> Slerp([1, 0, 0, 0], [0, 0, 0, 1], 1 / 3).round(6)
    array([0.866025, 0.      , 0.      , 0.5     ])
    """
    t = _real(t, "t", ())[..., None]
    if np.any(outside := (t < 0) | (t > 1)):
        raise ValueError(f"t must be from 0 to 1, not {t[outside][0]:g}")
    start, end, t = _matched(q1=_unit(_quaternions(q1, "q1"), "q1"), q2=_unit(_quaternions(q2, "q2"), "q2"), t=t)
    end = np.where(np.sum(start * end, axis=-1, keepdims=True) < 0, -end, end)
    angle = 2 * np.arctan2(_norm(end - start), _norm(end + start))  # accurate for small angles too, unlike the arccosine
    whole = np.sinc(angle / np.pi)
    before, after = (f * np.sinc(f * angle / np.pi) / whole for f in (1 - t, t))
    between = before * start + after * end
    return np.where(angle > 0, between / _norm(between), start)


def _real(values, name, ending):
    """`values` as finite float64 whose shape ends with `ending`."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    if array.shape[array.ndim - len(ending):] != ending or array.ndim < len(ending):
        raise ValueError(f"{name} must have the shape (..., {', '.join(map(str, ending))}), not {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, not {array[~np.isfinite(array)][0]}")
    return array


def _quaternions(q, name):
    return _real(q, name, (4,))


def _matched(**arrays):
    """The arrays, if all dimensions but their last one broadcast."""
    try:
        np.broadcast_shapes(*(array.shape[:-1] for array in arrays.values()))
    except ValueError:
        shapes = " and ".join(f"{name} of shape {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{shapes} do not broadcast") from None
    return arrays.values()


def _scaled(q, name):
    """The largest component of each, and the quaternions divided by it: their squares neither overflow nor vanish."""
    scale = np.abs(q).max(axis=-1, keepdims=True)
    if np.any(scale == 0):
        raise ValueError(f"{name} must not be zero: (0, 0, 0, 0) is no rotation and has no inverse")
    return scale, q / scale


def _unit(q, name):
    """The quaternions at length one, untouched where they have it to rounding."""
    scale, scaled = _scaled(q, name)
    length = _norm(scaled)
    return np.where(np.abs(scale * length - 1) <= _UNIT, q, scaled / length)


def _norm(v):
    return np.sqrt(np.sum(v * v, axis=-1, keepdims=True))


def _conjugate(q):
    return q * (1.0, -1.0, -1.0, -1.0) + 0.0  # no negative zeros


def _product(p, q):
    a, b, c, d = np.moveaxis(p, -1, 0)
    w, x, y, z = np.moveaxis(q, -1, 0)
    return np.stack([a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y,
                     a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w], axis=-1)
