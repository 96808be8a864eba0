"""Classification: features against their naive twin, graphs against scikit-learn, accuracy on real patterns, awkward input."""

import doctest
import importlib
import threading
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.cluster import SpectralClustering
from sklearn.decomposition import TruncatedSVD
from sklearn.manifold import LocallyLinearEmbedding, SpectralEmbedding
from sklearn.mixture import GaussianMixture

from edfast.cli import main
from edfast.image import _clusters
from edfast.image._classify_file import plot_classes
from edfast.image._features import pattern_features
from edfast.image.classify import cluster_fSpec, cluster_fTSNE
from edfast.kernels import _bands
from tests import naive_image_io as naive

QUIET = {"verbose": False, "random_state": 0}


def share(labels, truth):
    """Share of patterns that are labelled right, whichever class is called 0."""
    right = float(np.mean(np.asarray(labels) == truth))
    return max(right, 1 - right)


def distances(features):
    features = features.astype(float)
    return np.linalg.norm(features[:, None] - features[None], axis=-1)


@pytest.fixture(scope="module")
def hits():
    return naive.hits(120, 48, seed=3)


@pytest.fixture
def real(shared_data):
    with h5py.File(shared_data("test_pattern.h5")) as file:
        return file["patterns"][()], file["mask"][()], file["labels"][()].astype(int)


@pytest.mark.small
@pytest.mark.parametrize("shape", [(32, 32), (31, 31), (20, 33), (33, 20), (3, 3)])
@pytest.mark.parametrize("low_filter", [0.3, 0.71, 1.0])
def test_features_like_their_naive_twin(shape, low_filter):
    rng = np.random.default_rng(0)
    if low_filter * min(shape) / 2 < 1:
        pytest.skip("no frequency is left")
    patterns = rng.poisson(rng.uniform(1, 40, (7, *shape))).astype(np.float64) - 3.5
    patterns[2, 1, 1], patterns[3, 0, 2], patterns[4, 2, 0] = np.nan, np.inf, -np.inf
    masked = rng.random(shape) < 0.1
    features = pattern_features(patterns, masked, low_filter)
    expected = naive.pattern_features(patterns, masked, low_filter)
    assert features.dtype == np.float32
    # Half of the plane stands for all of it: lengths and distances are the same.
    np.testing.assert_allclose(distances(features), distances(expected), rtol=2e-5, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-5)


@pytest.mark.small
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">i2", "?"])
def test_features_of_every_dtype(dtype):
    patterns = np.random.default_rng(1).integers(0, 2 if dtype == "?" else 100, (5, 16, 18)).astype(dtype)
    expected = naive.pattern_features(patterns, np.zeros((16, 18), bool), 0.5)
    np.testing.assert_allclose(distances(pattern_features(patterns, None, 0.5)), distances(expected), rtol=1e-4, atol=1e-4)


def test_every_kind_of_stack_has_the_same_features(tmp_path, hits):
    da = pytest.importorskip("dask.array")
    patterns = hits[0][:40]
    before = patterns.copy()
    expected = pattern_features(patterns, None, 0.3)
    read_only = patterns.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "stack.npy", patterns)
    mapped = np.load(tmp_path / "stack.npy", mmap_mode="r")
    wide = np.zeros((40, 96, 96), patterns.dtype)
    wide[:, ::2, ::2] = patterns
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        plain = file.create_dataset("plain", data=patterns)
        packed = file.create_dataset("packed", data=patterns, chunks=(7, 48, 48), compression="gzip", shuffle=True)
        for other in (read_only, mapped, wide[:, ::2, ::2], patterns.tolist(), np.asfortranarray(patterns), plain, packed,
                      da.from_array(patterns, chunks=(9, 48, 30))):
            np.testing.assert_array_equal(pattern_features(other, None, 0.3), expected)
        decomp, labels = cluster_fSpec(packed, decomposition="SpecEM", **QUIET)
    np.testing.assert_array_equal(labels, cluster_fSpec(patterns, decomposition="SpecEM", **QUIET)[1])
    np.testing.assert_array_equal(decomp, cluster_fSpec(mapped, decomposition="SpecEM", **QUIET)[0])
    np.testing.assert_array_equal(patterns, before)


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_features_do_not_depend_on_the_threads(hits, monkeypatch, bands):
    expected = pattern_features(hits[0][:21], None, 0.4)
    monkeypatch.setattr(_bands, "PIXELS_PER_BAND", 1)
    monkeypatch.setattr(_bands.numba.config, "NUMBA_NUM_THREADS", bands)
    monkeypatch.setattr(_bands, "_jobs", None)
    np.testing.assert_array_equal(pattern_features(hits[0][:21], None, 0.4), expected)


def test_flux_and_scale_do_not_matter(hits):
    patterns, _ = hits
    factors = np.random.default_rng(0).uniform(0.2, 5, len(patterns))
    a = pattern_features(patterns.astype(float), None, 0.3)
    b = pattern_features(patterns * factors[:, None, None], None, 0.3)
    # The mean profile differs; what differs between patterns does not, but for the 1 in log(1 + x).
    assert np.corrcoef(distances(a).ravel(), distances(b).ravel())[0, 1] > 0.999


def test_blank_and_damaged_patterns_are_no_nan(hits):
    patterns = hits[0][:30].astype(np.float32)
    patterns[3], patterns[7], patterns[8] = 0, np.nan, np.inf
    features = pattern_features(patterns, None, 0.3)
    assert np.isfinite(features).all()
    assert not features[[3, 7, 8]].any()
    for decomposition in ("SVD", "SpecEM"):
        decomp, labels = cluster_fSpec(patterns, decomposition=decomposition, **QUIET)
        assert np.isfinite(decomp).all()
        assert set(labels) == {0, 1}


def test_input_and_mask_are_not_modified(hits):
    patterns, mask = hits[0][:20].astype(float), np.zeros((48, 48))
    mask[20:23] = 1
    patterns[:, 21] = 1e9
    copies = patterns.copy(), mask.copy()
    found = cluster_fSpec(patterns, mask, **QUIET)
    np.testing.assert_array_equal(patterns, copies[0])
    np.testing.assert_array_equal(mask, copies[1])
    patterns[:, 20:23] = 0
    np.testing.assert_array_equal(cluster_fSpec(patterns, **QUIET)[0], found[0])


@pytest.mark.parametrize(("call", "least"), [
    (lambda d, m, s: cluster_fSpec(d, m, random_state=s, verbose=False), 0.74),
    (lambda d, m, s: cluster_fSpec(d, m, decomposition="LLE", nneighbors=5, random_state=s, verbose=False), 0.98),
    (lambda d, m, s: cluster_fSpec(d, m, decomposition="SpecEM", random_state=s, verbose=False), 0.98),
    (lambda d, m, s: cluster_fTSNE(d, m, random_state=s, verbose=False), 0.74),
], ids=["SVD", "LLE", "SpecEM", "t-SNE"])
def test_accuracy_on_real_patterns(real, call, least):
    patterns, mask, truth = real
    assert np.median([share(call(patterns, mask, seed)[1], truth) for seed in range(10)]) >= least


def test_accuracy_on_simulated_hits():
    patterns, truth = naive.hits(600, 64, seed=3)
    _, labels, scores = cluster_fSpec(patterns, decomposition="SpecEM", scores=True, **QUIET)
    assert share(labels, truth) >= 0.97
    assert scores.shape == truth.shape
    assert 0.9 < scores.mean() <= 1
    assert ((scores >= 0) & (scores <= 1)).all()


def test_decompositions_are_scikit_learns(real):
    patterns, mask, _ = real
    features = naive.pattern_features(patterns, mask != 0, 0.3)
    svd, _ = cluster_fSpec(patterns, mask, ncomponent=3, **QUIET)
    np.testing.assert_allclose(svd, TruncatedSVD(3, algorithm="arpack", random_state=0).fit_transform(features),
                               rtol=0, atol=0.02)
    lle, _ = cluster_fSpec(patterns, mask, decomposition="LLE", nneighbors=5, **QUIET)
    expected = LocallyLinearEmbedding(n_neighbors=5, eigen_solver="dense").fit_transform(features)
    assert_same_columns(lle, expected, 0.01)
    spectral, _ = cluster_fSpec(patterns, mask, decomposition="SpecEM", nneighbors=6, **QUIET)
    assert_same_columns(spectral, SpectralEmbedding(2, n_neighbors=6, random_state=0).fit_transform(features), 1e-5)


def assert_same_columns(a, b, tolerance):
    """The same columns, up to their sign and to `tolerance` of their length."""
    for x, y in zip(a.T, b.T, strict=True):
        assert min(np.linalg.norm(x - y), np.linalg.norm(x + y)) < tolerance * np.linalg.norm(y)


@pytest.mark.parametrize("n", [50, 900, 6000])
def test_smoothest_functions_are_scikit_learns(n):
    rng = np.random.default_rng(n)
    angle = np.sort(rng.uniform(0, 5, n))
    points = np.stack([np.cos(angle), np.sin(angle), 0.3 * rng.random(n)], axis=1)
    graph = _clusters.neighbour_graph(points, 12)
    found, roughness = _clusters.smoothest(graph, 3, 0)
    if n <= 900:
        expected = SpectralEmbedding(2, affinity="precomputed", random_state=0, eigen_tol=1e-10).fit_transform(graph)
        assert_same_columns(found[:, 1:], expected, 1e-5)
    assert np.ptp(found[:, 0]) < 1e-6 * found[:, 0].max()
    weight = graph.sum(axis=1)[:, None]
    gradient = weight * found - graph @ found
    values = np.sum(found * gradient, axis=0) / np.sum(weight * found**2, axis=0)
    np.testing.assert_allclose(gradient, values * weight * found, rtol=0, atol=1e-6)
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(values, roughness, rtol=1e-5, atol=1e-9)


def test_clusters_are_scikit_learns(real):
    patterns, mask, truth = real
    for decomposition in ("SVD", "SpecEM"):
        decomp, labels = cluster_fSpec(patterns, mask, decomposition=decomposition, **QUIET)
        if decomposition == "SVD":
            expected = SpectralClustering(2, affinity="nearest_neighbors", random_state=0).fit_predict(decomp)
            assert share(labels, expected) == 1
    # An independent way from the coordinates to the classes:
    mixture = GaussianMixture(2, n_init=10, random_state=0).fit_predict(decomp)
    assert share(labels, mixture) >= 0.96
    assert share(mixture, truth) >= 0.96


def test_parts_of_a_graph_are_linked_by_the_shortest_lines():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(90, 2)) + np.repeat([[0, 0], [30, 0], [45, 0]], [40, 30, 20], axis=0)
    graph = _clusters.neighbour_graph(points, 5)
    assert _clusters.parts(graph)[0] == 1
    assert abs(graph - graph.T).max() == 0
    groups = np.repeat([0, 1, 2], [40, 30, 20])
    i, j = graph.nonzero()
    across = {tuple(sorted(pair)) for pair in zip(groups[i], groups[j], strict=True) if pair[0] != pair[1]}
    assert across == {(0, 1), (1, 2)}  # and not (0, 2), which is farther
    labels = _clusters.spectral_clusters(points, 3, 5, 0)
    np.testing.assert_array_equal(labels, groups)  # 0 is the largest class
    np.testing.assert_array_equal(_clusters.spectral_clusters(points, 1, 5, 0), np.zeros(90))


def test_a_few_outliers_are_no_class():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(512, 2)) + np.repeat([[0, 0], [9, 0], [500, 0]], [300, 200, 12], axis=0)
    labels = _clusters.spectral_clusters(points, 2, 10, 0)
    np.testing.assert_array_equal(labels[:500], np.repeat([0, 1], [300, 200]))


def test_agreement():
    points = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    np.testing.assert_allclose(_clusters.agreement(points, np.array([0, 0, 1, 1, 1, 1]), 2), [0.5, 0.5, 0, 1, 1, 1])


def test_repeatable(hits):
    patterns = hits[0][:60]
    for call in (lambda **options: cluster_fSpec(patterns, verbose=False, **options),
                 lambda **options: cluster_fTSNE(patterns, perplexity=8, max_iter=250, verbose=False, **options)):
        first, second = call(random_state=5), call(random_state=np.int64(5))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
        for generator in (np.random.default_rng, np.random.RandomState):
            np.testing.assert_array_equal(call(random_state=generator(3))[0], call(random_state=generator(3))[0])
    options = {"perplexity": 8, "max_iter": 250, "verbose": False}
    seeded = [cluster_fTSNE(patterns, randseed=seed, **options)[0] for seed in (7, 7, 8, -1, -1)]
    np.testing.assert_array_equal(seeded[0], seeded[1])
    for a, b in ((0, 2), (3, 4), (0, 3)):
        assert np.abs(seeded[a] - seeded[b]).max() > 1


def test_options_of_tsne(hits):
    patterns = hits[0][:40]
    options = {"perplexity": 5, "max_iter": 250, "verbose": False, "randseed": 1}
    shapes = {3: {}, 4: {"clustering": -1}, 2: {"use_pca": False, "theta": 0}, 1: {"initial_dims": 3, "theta": 1.0}}
    for dims, extra in shapes.items():
        decomp, labels = cluster_fTSNE(patterns, no_dims=dims, **options, **extra)
        assert decomp.shape == (40, dims)
        assert decomp.dtype == np.float64
        assert len(labels) == (0 if "clustering" in extra else 40)
    first, *others = [cluster_fTSNE(patterns, **(options | extra))[0] for extra in (
        {}, {"use_pca": False, "low_filter": 0.6}, {"initial_dims": 2}, {"theta": 0.9}, {"max_iter": 300}, {"perplexity": 9})]
    for other in others:
        assert np.abs(other - first).max() > 1e-3


@pytest.mark.parametrize("method", ["standard", "modified", "hessian", "ltsa"])
def test_kinds_of_lle(real, method):
    patterns, mask, _ = real
    decomp, labels = cluster_fSpec(patterns, mask, decomposition="LLE", nneighbors=8, LLEmethod=method, **QUIET)
    assert decomp.shape == (50, 2)
    assert set(labels) == {0, 1}


def test_numbers_of_classes_and_components(hits):
    patterns, _ = hits
    for wanted in (0, -1, -7):
        assert cluster_fSpec(patterns, clustering=wanted, **QUIET)[1] == []
        assert cluster_fSpec(patterns, clustering=wanted, scores=True, **QUIET)[1:] == ([], [])
    assert set(cluster_fSpec(patterns, clustering=1, **QUIET)[1]) == {0}
    for wanted in (3, 5):
        decomp, labels = cluster_fSpec(patterns, ncomponent=wanted, clustering=wanted, decomposition="SpecEM", **QUIET)
        assert decomp.shape == (120, wanted)
        assert labels.dtype == np.int64
        sizes = np.bincount(labels, minlength=wanted)
        assert (sizes > 0).all()
        assert (np.diff(sizes) <= 0).all()
    three = cluster_fSpec(patterns[:3], clustering=3, ncomponent=1, **QUIET)
    assert sorted(three[1]) == [0, 1, 2]


def test_lle_says_when_there_is_nothing_to_compare():
    y, x = np.mgrid[-16:16, -16:16]
    spot = 900 * np.exp(-np.hypot(x, y) / 8)
    patterns = np.random.default_rng(0).poisson([spot] * 15 + [spot * (1 + np.cos(0.8 * x))] * 15)
    with pytest.warns(UserWarning, match=r"with nneighbors=3 the patterns fall into \d+ groups"):
        cluster_fSpec(patterns, decomposition="LLE", nneighbors=3, **QUIET)


def test_many_patterns_without_a_square_matrix():
    """Neighbours, coordinates and classes of 20 000 patterns within a small part of what N x N numbers take (3.2 GB)."""
    rng = np.random.default_rng(2)
    truth = rng.random(20_000) < 0.4
    features = rng.normal(size=(truth.size, 12))
    features[truth, 2] += 7
    tracemalloc.start()
    functions, roughness = _clusters.smoothest(_clusters.neighbour_graph(features, 10), 3, 0)
    labels = _clusters.spectral_clusters(functions[:, 1:] / np.sqrt(roughness[1:]), 2, 10, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert share(labels, truth) > 0.98
    assert peak < 250e6


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"low_filter": 0}, ValueError, "low_filter must be a finite number above 0 and at most 1, not 0"),
    ({"low_filter": 1.5}, ValueError, "low_filter must be .* not 1.5"),
    ({"low_filter": 0.01}, ValueError, "low_filter=0.01 leaves no frequency of patterns of 16 x 16 pixels"),
    ({"decomposition": "PCA"}, ValueError, "decomposition must be one of 'SVD', 'LLE', 'SpecEM', not 'PCA'"),
    ({"LLEmethod": "best"}, ValueError, "LLEmethod must be one of"),
    ({"ncomponent": 0}, ValueError, "ncomponent must be a whole number of at least 1, not 0"),
    ({"ncomponent": 8}, ValueError, "ncomponent must be below the number of patterns, 8, not 8"),
    ({"ncomponent": 7, "low_filter": 0.13}, ValueError, "ncomponent must be at most the number of frequencies .* 6, not 7"),
    ({"decomposition": "LLE"}, ValueError, "nneighbors must be below the number of patterns, 8, not 10"),
    ({"clustering": 9}, ValueError, "clustering must be at most the number of patterns, 8, not 9"),
    ({"clustering": 2.5}, ValueError, "clustering must be a whole number, the number of classes, not 2.5"),
    ({"mask": np.ones((2, 2))}, ValueError, r"mask has shape \(2, 2\)"),
    ({"mask": np.ones((16, 16))}, ValueError, "mask leaves no pixel"),
    ({"random_state": "x"}, ValueError, "random_state must be a whole number"),
    ({"random_state": 2**32}, ValueError, "random_state must be below"),
    ({"decomposition": "LLE", "LLEmethod": "hessian", "nneighbors": 3}, ValueError, "LLEmethod='hessian' fails with nneighb"),
])
def test_bad_options(options, error, message):
    patterns = np.random.default_rng(0).poisson(9, (8, 16, 16))
    with pytest.raises(error, match=message) as caught:
        cluster_fSpec(patterns, **({"verbose": False} | options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"perplexity": 40}, "perplexity must be below the number of patterns, 8, not 40"),
    ({"max_iter": 100}, "max_iter must be a whole number of at least 250, not 100"),
    ({"theta": 2}, "theta must be .* not 2"), ({"initial_dims": 0}, "initial_dims"), ({"no_dims": 0}, "no_dims"),
    ({"randseed": 1.5}, "randseed must be a whole number, not 1.5"), ({"randseed": True}, "randseed"),
])
def test_bad_options_of_tsne(options, message):
    with pytest.raises(ValueError, match=message):
        cluster_fTSNE(np.ones((8, 16, 16)), **({"perplexity": 3} | options))


def test_exact_tsne_of_many_patterns_is_refused():
    many = np.broadcast_to(np.uint8(1), (10_001, 4, 4))
    with pytest.raises(ValueError, match="theta=0 needs matrices of 10001 x 10001"):
        cluster_fTSNE(many, theta=0, low_filter=1)


@pytest.mark.parametrize(("dataset", "error", "message"), [
    (np.ones((4, 4)), ValueError, "dataset must be a stack"), (np.ones((2, 8, 8)), ValueError, "at least 3 patterns .* not 2"),
    (np.ones((9, 2, 8)), ValueError, "at least 3 x 3 pixels, not 2 x 8"),
    (np.ones((9, 8, 8), complex), TypeError, "dataset must hold real numbers"), (np.ones((0, 8, 8)), ValueError, "dataset"),
])
def test_stacks_that_cannot_be_classified(dataset, error, message):
    for function in (cluster_fSpec, cluster_fTSNE):
        with pytest.raises(error, match=message):
            function(dataset)


def test_several_threads_at_once(hits):
    patterns = hits[0][:40]
    expected = cluster_fSpec(patterns, decomposition="SpecEM", **QUIET)[0]
    barrier, found = threading.Barrier(6), [None] * 6

    def run(k):
        barrier.wait()
        found[k] = cluster_fSpec(patterns, decomposition="SpecEM", **QUIET)[0]

    threads = [threading.Thread(target=run, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in found:
        np.testing.assert_array_equal(other, expected)


def command(*arguments):
    """Exit code, stdout and stderr of `edfast classify`, in this process."""
    result = CliRunner().invoke(main, ["classify", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def stack_file(tmp_path, hits):
    path = tmp_path / "hits.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry_1/data_1/data", data=hits[0], chunks=(10, 48, 48), compression="gzip")
        file["mask"] = np.zeros((48, 48), np.uint8)
        file["one"] = hits[0][0]
    return path


def test_command(tmp_path, hits, stack_file):
    silx = pytest.importorskip("silx.io.nxdata")
    before = stack_file.read_bytes()
    code, said, err = command(stack_file, "-o", tmp_path / "out.h5", "-m", "/mask", "--seed", 0)
    assert (code, err) == (0, "")
    assert "120 patterns classified" in said
    assert stack_file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hits.h5", "out.h5", "out.png"]
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
    decomp, labels, scores = cluster_fSpec(hits[0], decomposition="SpecEM", scores=True, **QUIET)
    assert f"class 0: {np.sum(labels == 0):6} patterns, score {scores[labels == 0].mean():.3f}" in said
    with h5py.File(tmp_path / "out.h5") as file:
        entry = file["entry_1"]
        np.testing.assert_array_equal(entry["coordinates"], decomp)
        np.testing.assert_array_equal(entry["labels/labels"], labels)
        np.testing.assert_array_equal(entry["labels/scores"], scores)
        assert entry["process/source"][()].decode() == str(stack_file)
        assert entry["process/data_set"][()] == b"/entry_1/data_1/data"
        shown = silx.get_default(file)
        assert shown.is_curve
        assert (shown.signal_name, shown.axes_names) == ("labels", ["pattern"])
        scatter = silx.NXdata(entry["embedding"])
        assert scatter.is_valid
        assert scatter.is_scatter
        assert not scatter.issues


def test_command_without_classes_and_with_other_input(tmp_path, hits):
    silx = pytest.importorskip("silx.io.nxdata")
    np.save(tmp_path / "hits.npy", hits[0][:30])
    np.save(tmp_path / "mask.npy", np.zeros((48, 48), bool))
    for number, arguments in enumerate((["-c", 0, "--method", "SVD"], ["-c", 0, "--components", 1],
                                        ["-c", 9, "--method", "LLE", "--neighbors", 12, "-m", tmp_path / "mask.npy"],
                                        ["--method", "TSNE", "--perplexity", 5, "--components", 3])):
        code, said, err = command(tmp_path / "hits.npy", "-o", tmp_path / f"{number}.h5", *arguments)
        assert (code, err) == (0, ""), err
        assert "30 patterns classified" in said
        with h5py.File(tmp_path / f"{number}.h5") as file:
            assert silx.get_default(file).is_valid
        assert (tmp_path / f"{number}.png").exists()


@pytest.mark.parametrize(("labels", "said"), [([0, 0, 0, 1], "each class to its rim"), ([], "all patterns to their rim")])
def test_the_picture_says_what_the_samples_are_of(labels, said):
    figure = plot_classes(np.arange(4.0)[:, None], labels, np.ones((4, 8, 8)))
    assert figure.subfigs[1].get_suptitle() == f"samples, from the middle of {said} (logarithmic)"
    assert figure.subfigs[0].axes[0].get_xlabel() == "number of the pattern"


def test_command_that_fails_leaves_nothing(tmp_path, stack_file):
    for name in ("text.h5", "m.h5"):
        (tmp_path / name).write_text("hello")
    for arguments, message in (
            ([tmp_path / "none.h5", "-o", tmp_path / "out.h5"], "there is no such file"),
            ([tmp_path / "text.h5", "-o", tmp_path / "out.h5"], "text.h5: not an HDF5 file, or damaged"),
            ([stack_file, "-o", tmp_path / "out.h5", "-d", "one"], "a stack of patterns has the shape"),
            ([stack_file, "-o", tmp_path / "out.h5", "-d", "two"], "no data set 'two'"),
            ([stack_file, "-o", tmp_path / "out.h5", "-m", "nothing"], "mask nothing: there is no such file"),
            ([stack_file, "-o", tmp_path / "out.h5", "--low-filter", "7"], "low_filter must be"),
            ([stack_file, "-o", tmp_path / "out.png"], "must end in one of .h5"),
            ([stack_file, "-o", tmp_path / "out.txt"], "must end in one of .h5"),
            ([stack_file, "-o", stack_file], "is the same file as the input"),
            ([stack_file, "-o", tmp_path / "m.h5", "-m", tmp_path / "m.h5"], "is the same file as the input"),
            ([stack_file, "-o", tmp_path / "no" / "out.h5"], "there is no folder")):
        code, said, err = command(*arguments)
        assert (code, said) == (2, "")
        assert message in err
        assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hits.h5", "m.h5", "text.h5"]


@pytest.mark.parametrize("page", ["classify", "structures"])
def test_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    docs = Path(importlib.import_module("tests").__file__).resolve().parents[1] / "docs"
    failed, tried = doctest.testfile(str(docs / f"{page}.rst"), module_relative=False)
    assert tried
    assert not failed
