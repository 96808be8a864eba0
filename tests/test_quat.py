"""Quaternions against scipy's Rotation, against naive twins, and by the laws of their group."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.spatial.transform import Slerp as ScipySlerp

from edfast.image.quat import Slerp, azi2quat, conj, invq, quat2azi, quat2rot, quat_mul, rot2quat, rotv
from tests import naive_image_io as naive

CLOSE = {"rtol": 0, "atol": 1e-12}
HALF_TURNS = [(0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 1, 1, 0), (0, 1, 0, -1), (0, 1, 2, 3), (0, -1e-9, 1, 0)]

numbers = st.floats(-10, 10, allow_subnormal=False)
anything = st.tuples(numbers, numbers, numbers, numbers).map(np.array)
rotations = anything.filter(lambda q: np.abs(q).max() > 1e-3).map(lambda q: q / np.linalg.norm(q))
vectors = st.tuples(numbers, numbers, numbers).map(np.array)
fractions = st.floats(0, 1)


def scipy_of(q):
    return Rotation.from_quat(q, scalar_first=True)


def assert_same_rotation(p, q, atol=1e-12):
    p, q = np.asarray(p), np.asarray(q)
    np.testing.assert_allclose(p * np.sign(np.sum(p * q, axis=-1, keepdims=True)), q, rtol=0, atol=atol)


@given(anything, anything, anything)
def test_products_form_a_group(p, q, r):
    np.testing.assert_allclose(quat_mul(quat_mul(p, q), r), quat_mul(p, quat_mul(q, r)), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(quat_mul([1, 0, 0, 0], q), q)
    np.testing.assert_array_equal(quat_mul(q, [1, 0, 0, 0]), q)
    np.testing.assert_allclose(conj(quat_mul(p, q)), quat_mul(conj(q), conj(p)), rtol=0, atol=1e-11)
    np.testing.assert_allclose(quat_mul(p, q), naive.quat_mul(p, q), rtol=0, atol=1e-11)
    np.testing.assert_allclose(np.linalg.norm(quat_mul(p, q)), np.linalg.norm(p) * np.linalg.norm(q), rtol=1e-12, atol=1e-12)


@given(rotations, st.sampled_from([1e-200, 1e-3, 1.0, 7.5, 1e200]))
def test_inverse(q, length):
    for product in (quat_mul(length * q, invq(length * q)), quat_mul(invq(length * q), length * q)):
        np.testing.assert_allclose(product, [1, 0, 0, 0], **CLOSE)
    np.testing.assert_allclose(invq(q), conj(q), **CLOSE)
    np.testing.assert_allclose(invq(length * q) * length, conj(q), **CLOSE)


def test_inverse_of_a_length_that_is_not_one():
    np.testing.assert_array_equal(invq([0, 3, 0, 4]), np.array([0, -3, 0, -4]) / 25)


@given(rotations, rotations, vectors)
def test_rotations_like_scipy(p, q, v):
    np.testing.assert_allclose(quat2rot(q), scipy_of(q).as_matrix(), **CLOSE)
    np.testing.assert_allclose(rotv(v, q), scipy_of(q).apply(v), rtol=0, atol=1e-11)
    assert_same_rotation(quat_mul(p, q), (scipy_of(p) * scipy_of(q)).as_quat(scalar_first=True))
    np.testing.assert_allclose(quat2rot(quat_mul(p, q)), quat2rot(p) @ quat2rot(q), **CLOSE)
    np.testing.assert_allclose(rotv(v, q), quat_mul(quat_mul(q, [0, *v]), invq(q))[1:], rtol=0, atol=1e-11)
    np.testing.assert_allclose(rotv(v, 1e120 * q), rotv(v, q), rtol=0, atol=1e-11)


@given(rotations)
@example(np.array([1.0, 0, 0, 0]))
@example(np.array([-1.0, 0, 0, 0]))
def test_matrix_and_back(q):
    back = rot2quat(quat2rot(q))
    assert back[0] >= 0
    assert_same_rotation(back, q, atol=1e-14)
    assert abs(np.linalg.norm(back) - 1) < 1e-15


@pytest.mark.parametrize("q", HALF_TURNS)
@pytest.mark.parametrize("nearly", [0, 1e-16, 1e-12, -1e-8, 1e-4])
def test_half_turns(q, nearly):
    q = np.array([nearly, *q[1:]], float)
    q /= np.linalg.norm(q)
    assert_same_rotation(rot2quat(quat2rot(q)), q, atol=3e-16)
    assert_same_rotation(rot2quat(scipy_of(q).as_matrix()), q, atol=1e-15)
    np.testing.assert_allclose(rotv(q[1:], q), q[1:], rtol=0, atol=1e-15)


@given(rotations)
@example(np.array([1.0, 0, 0, 0]))
@example(np.array([-1.0, 0, 0, 0]))
@example(np.array([0, 0.6, 0, -0.8]))
@example(np.array([1.0, 1e-30, 0, 0]))
def test_angle_and_axis_and_back(q):
    angle, *axis = quat2azi(q)
    assert 0 <= angle <= 2 * math.pi
    assert abs(np.linalg.norm(axis) - 1) < 1e-15
    np.testing.assert_allclose(azi2quat(quat2azi(q)), q, rtol=0, atol=1e-15)
    np.testing.assert_allclose(quat2azi(3 * q), quat2azi(q), rtol=0, atol=1e-12)
    np.testing.assert_allclose(quat2rot(q) @ [1, 2, 3], naive.rotate([1, 2, 3], angle, axis), **CLOSE)
    np.testing.assert_allclose(Rotation.from_rotvec(angle * np.array(axis)).as_matrix(), quat2rot(q), **CLOSE)


def test_no_rotation_has_an_axis_of_length_one():
    for q in ([1, 0, 0, 0], [5, 0, 0, 0]):
        angle, *axis = quat2azi(q)
        assert angle == 0
        assert np.linalg.norm(axis) == 1
    assert azi2quat([0, 0, 0, 0]).tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(azi2quat(quat2azi([-1, 0, 0, 0])), [-1, 0, 0, 0], **CLOSE)
    # An angle far below what the cosine of its half can tell:
    assert quat2azi([1, 1e-12, 0, 0])[0] == pytest.approx(2e-12, rel=1e-9)


@given(rotations, rotations, fractions)
def test_interpolation_like_scipy(p, q, t):
    if abs(p @ q) > 1e-9:  # half a turn apart, there are two ways
        expected = ScipySlerp([0, 1], scipy_of(np.array([p, q])))(t).as_quat(scalar_first=True)
        assert_same_rotation(Slerp(p, q, t), expected, atol=1e-7)
    between = Slerp(p, q, t)
    assert abs(np.linalg.norm(between) - 1) < 1e-15
    full = 2 * math.acos(min(1, abs(p @ q)))
    assert full <= math.pi + 1e-6
    assert 2 * math.acos(min(1, abs(p @ between))) == pytest.approx(t * full, abs=1e-6)


@given(rotations, fractions)
def test_interpolation_between_equals_is_exact(q, t):
    np.testing.assert_array_equal(Slerp(q, q, t), q)
    np.testing.assert_array_equal(Slerp(q, -q, t), q)


@given(rotations, rotations)
def test_interpolation_begins_and_ends(p, q):
    np.testing.assert_allclose(Slerp(p, q, 0), p, rtol=0, atol=1e-15)
    assert_same_rotation(Slerp(p, q, 1), q, atol=1e-15)
    # The shorter arc: at least as near to the first in the middle as the ends are to each other.
    assert abs(Slerp(p, q, 0.5) @ p) >= abs(p @ q) - 1e-12


def test_shapes_broadcast():
    rng = np.random.default_rng(0)
    p, q, v = rng.normal(size=(5, 1, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 3))
    for many, one in ((quat_mul(p, q), quat_mul(p[4, 0], q[2])), (rotv(v, p), rotv(v[2], p[4, 0])),
                      (Slerp(p, q, 0.3), Slerp(p[4, 0], q[2], 0.3))):
        assert many.shape[:2] == (5, 3)
        np.testing.assert_allclose(many[4, 2], one, **CLOSE)
    t = np.linspace(0, 1, 11)
    assert Slerp(q[0], q[1], t).shape == (11, 4)
    for function in (invq, conj, quat2azi, azi2quat, quat2rot, rot2quat):
        values = quat2rot(p) if function is rot2quat else p
        np.testing.assert_array_equal(function(values)[4, 0], function(values[4, 0]))
        assert function(values[:0]).shape[0] == 0
    assert type(quat2rot([1, 0, 0, 0])) is np.ndarray


@pytest.mark.parametrize("convert", [
    np.ndarray.tolist, lambda a: a.astype(">f8"), lambda a: a.astype(">i2"), np.asfortranarray, lambda a: a[::-1][::-1],
    lambda a: np.broadcast_to(a, a.shape), lambda a: a.astype(np.uint8),
])
def test_any_kind_of_array(convert):
    q = np.array([[1.0, 2, 3, 4], [0, 0, 7, 0]])
    before = q.copy()
    given_q = convert(q)
    for function in (invq, conj, quat2azi, azi2quat, quat2rot, lambda a: quat_mul(a, a), lambda a: Slerp(a, a[::-1], 0.25)):
        np.testing.assert_array_equal(function(given_q), function(q))
    np.testing.assert_array_equal(given_q, before)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: invq([0, 0, 0, 0]), ValueError, r"q must not be zero: \(0, 0, 0, 0\)"),
    (lambda: quat2rot(np.zeros((2, 4))), ValueError, "q must not be zero"),
    (lambda: rotv([1, 2, 3], [0, 0, 0, 0]), ValueError, "q must not be zero"),
    (lambda: Slerp([1, 0, 0, 0], [0, 0, 0, 0], 0.5), ValueError, "q2 must not be zero"),
    (lambda: conj([1, 2, 3]), ValueError, r"q must have the shape \(..., 4\), not \(3,\)"),
    (lambda: conj(3), ValueError, r"q must have the shape"),
    (lambda: quat_mul([1, 0, 0, math.nan], [1, 0, 0, 0]), ValueError, "q1 must be finite, not nan"),
    (lambda: quat_mul(np.ones((2, 4)), np.ones((3, 4))), ValueError, r"q1 of shape \(2, 4\) and q2 of shape \(3, 4\) do not"),
    (lambda: conj([1j, 0, 0, 0]), TypeError, "q must hold real numbers, not complex128"),
    (lambda: conj(["a", 0, 0, 0]), TypeError, "q must hold real numbers"),
    (lambda: rotv([1, 2], [1, 0, 0, 0]), ValueError, r"vector must have the shape \(..., 3\), not \(2,\)"),
    (lambda: azi2quat([1, 0, 0, 0]), ValueError, r"azi has the angle 1, but the axis \(0, 0, 0\)"),
    (lambda: Slerp([1, 0, 0, 0], [1, 0, 0, 0], 1.5), ValueError, "t must be from 0 to 1, not 1.5"),
    (lambda: Slerp([1, 0, 0, 0], [1, 0, 0, 0], "x"), TypeError, "t must hold real numbers"),
    (lambda: rot2quat(-np.eye(3)), ValueError, r"rot must be a rotation matrix .*not \[\[-1"),
    (lambda: rot2quat(2 * np.eye(3)), ValueError, "rot must be a rotation matrix"),
    (lambda: rot2quat(np.stack([np.eye(3), np.ones((3, 3))])), ValueError, r"rotation matrix .*not \[\[1.0, 1.0"),
    (lambda: rot2quat(np.eye(4)), ValueError, r"rot must have the shape \(..., 3, 3\)"),
])
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_random_rotations_are_scipys(seed):
    q = Rotation.random(200, random_state=seed).as_quat(scalar_first=True)
    np.testing.assert_allclose(quat2rot(q), scipy_of(q).as_matrix(), **CLOSE)
    assert_same_rotation(rot2quat(scipy_of(q).as_matrix()), q)
