"""Classification of diffraction patterns without examples: single hits from multiple ones, one kind of particle from another.

Patterns are compared by the moduli of their Fourier transforms, that is by what is periodic in them: a second particle in the
beam puts fringes on a pattern, whatever its orientation.
"""

import logging
import numbers
import warnings
from typing import Any

import numpy as np

from .. import _stacks
from .._validation import as_count, as_jobs, as_mask, as_number, choose

__all__ = ["cluster_fSpec", "cluster_fTSNE"]

_NEIGHBOURS = 10        # of a pattern, among which its class is looked for;
_NEIGHBOURS_TSNE = 20   # more of them where t-SNE has torn groups apart
_EXACT_LLE = 500        # patterns up to which all eigenvectors of LLE are computed
_EXACT_TSNE = 10_000    # patterns up to which t-SNE may be exact, with its N x N matrices

log = logging.getLogger("edfast")


def cluster_fSpec(dataset, mask=None, low_filter=0.3, decomposition="SVD", ncomponent=2, nneighbors=10, LLEmethod="standard",
                  clustering=2, njobs=1, verbose=True, *, random_state=None, scores=False):
    """Classify patterns by a decomposition of their Fourier moduli, and spectral clustering.

    The modulus of the Fourier transform of each pattern, of which only the low frequencies count, is scaled shell by shell to
    the mean profile of all patterns, so that neither the flux nor the size of a particle matters. Of log(1 + x) of that, the
    decomposition makes `ncomponent` coordinates for each pattern, and clusters are looked for in these.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (Nd, Nx, Ny)
        Any real dtype; read block by block and not modified. Non-finite pixels count as masked.
    mask : array_like of shape (Nx, Ny), optional
        True or non-zero = leave the pixel out (it counts as zero).
    low_filter : float, optional
        How much of each side of the Fourier plane, about its centre, is used; from 0 to 1.
    decomposition : {"SVD", "LLE", "SpecEM"}, optional
        Truncated singular value decomposition, locally linear embedding, or spectral embedding (Laplacian eigenmaps). The
        guide on classification says which to take: "SpecEM" first.
    ncomponent : int, optional
        Number of coordinates.
    nneighbors : int, optional
        Number of neighbours of each pattern, for "LLE" and "SpecEM".
    LLEmethod : {"standard", "modified", "hessian", "ltsa"}, optional
        Kind of locally linear embedding.
    clustering : int, optional
        Number of classes; none are looked for if it is not positive.
    njobs : int, optional
        Threads of scikit-learn's searches for neighbours; -1 = all cores, -2 = all but one, and so on.
    verbose : bool, optional
        Show a progress bar for long work, and log what is done (level INFO, logger ``edfast``).
    random_state : int or numpy random generator, optional
        Makes the result repeatable.
    scores : bool, optional
        Return how sure each label is too.

    Returns
    -------
    decomp : ndarray of shape (Nd, ncomponent), float64
        The coordinates.
    labels : ndarray of shape (Nd,), int64, or []
        0 is the largest class. An empty list if `clustering` is not positive.
    scores : ndarray of shape (Nd,), float64, or []
        Only with ``scores=True``: the share of each pattern's ten nearest neighbours, in the coordinates, that have its label.

    Raises
    ------
    ValueError
        A wrong shape, a parameter that makes no sense, more classes, components or neighbours than the patterns allow.
    TypeError
        Patterns, mask or parameters that are not numeric.

    Warns
    -----
    UserWarning
        LLE, where the neighbours of the patterns fall into separate groups: it shows nothing else then.

    Notes
    -----
    Clusters are parts of the graph of the ten nearest neighbours with few connections between them (normalised cut). For
    "SpecEM" each coordinate is divided by the root of its eigenvalue first, which makes distances those of commute times.
    Beyond 2000 patterns clusters are looked for among 2000, drawn at random, and each other pattern goes to the class of those
    next to it; nothing of size Nd x Nd is made.

    References
    ----------
    "image" toolbox, image.classify. Normalised cut: U. von Luxburg (2007), https://doi.org/10.1007/s11222-007-9033-z. LLE:
    S. T. Roweis and L. K. Saul (2000), https://doi.org/10.1126/science.290.5500.2323. Spectral embedding: M. Belkin and
    P. Niyogi (2003), https://doi.org/10.1162/089976603321780317

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[-32:32, -32:32]
    >>> envelope = 200 * np.exp(-np.hypot(x, y) / 9)
    >>> directions = rng.uniform(0, np.pi, 100)
    >>> fringes = [1 + n % 2 * np.cos(0.6 * (x * np.cos(t) + y * np.sin(t))) for n, t in enumerate(directions)]
    >>> patterns = rng.poisson(envelope * np.array(fringes))  # single particles, and pairs of them
    >>> decomp, labels = cluster_fSpec(patterns, decomposition="SpecEM", verbose=False, random_state=0)
    >>> bool(np.all(labels[::2] == labels[0]) and np.all(labels[1::2] != labels[0]))
    True
    """
    count, mask, low_filter, clustering = _checked(dataset, mask, low_filter, clustering)
    njobs = as_jobs(njobs)
    choose(decomposition, "decomposition", ("SVD", "LLE", "SpecEM"))
    choose(LLEmethod, "LLEmethod", ("standard", "modified", "hessian", "ltsa"))
    ncomponent = _below(ncomponent, "ncomponent", count)
    if decomposition != "SVD":
        nneighbors = _below(nneighbors, "nneighbors", count)
    seed = _seed(random_state)
    features = _features(dataset, mask, low_filter, ncomponent, verbose)
    weights = 1.0
    if decomposition == "SVD":
        decomp = _svd(features, ncomponent, seed)
    elif decomposition == "LLE":
        decomp = _lle(features, ncomponent, nneighbors, LLEmethod, njobs, seed)
    else:
        decomp, weights = _spectral(features, ncomponent, nneighbors, njobs, seed)
    return _labelled(decomp, weights, clustering, _NEIGHBOURS, njobs, seed, scores, verbose)


def cluster_fTSNE(dataset, mask=None, low_filter=0.3, no_dims=2, perplexity=20, use_pca=True, initial_dims=50, max_iter=500,
                  theta=0.5, randseed=-1, clustering=2, njobs=1, verbose=True, *, random_state=None, scores=False):
    """Classify patterns by t-SNE of their Fourier moduli, and spectral clustering.

    The moduli are those of `cluster_fSpec`. t-SNE keeps neighbours together and says little about distances; two runs look
    different. It takes a minute where `cluster_fSpec` takes a second.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (Nd, Nx, Ny)
        Any real dtype; read block by block and not modified. Non-finite pixels count as masked.
    mask : array_like of shape (Nx, Ny), optional
        True or non-zero = leave the pixel out (it counts as zero).
    low_filter : float, optional
        How much of each side of the Fourier plane, about its centre, is used; from 0 to 1.
    no_dims : int, optional
        Number of coordinates. More than three need the exact method.
    perplexity : float, optional
        About the number of neighbours of each pattern, below Nd.
    use_pca : bool, optional
        Whether principal components are taken first.
    initial_dims : int, optional
        How many of them; less if there are fewer patterns.
    max_iter : int, optional
        Iterations, at least 250.
    theta : float, optional
        From 0 (exact, with N x N matrices) to 1 (fast and rough).
    randseed : int, optional
        Seed that makes the result repeatable; another one each time if it is negative.
    clustering : int, optional
        Number of classes; none are looked for if it is not positive.
    njobs : int, optional
        Threads of scikit-learn's searches for neighbours; -1 = all cores, -2 = all but one, and so on.
    verbose : bool, optional
        Show a progress bar for long work, and log what is done (level INFO, logger ``edfast``).
    random_state : int or numpy random generator, optional
        The same as `randseed`, which it replaces.
    scores : bool, optional
        Return how sure each label is too.

    Returns
    -------
    decomp : ndarray of shape (Nd, no_dims), float64
        The coordinates.
    labels : ndarray of shape (Nd,), int64, or []
        0 is the largest class. An empty list if `clustering` is not positive.
    scores : ndarray of shape (Nd,), float64, or []
        Only with ``scores=True``: the share of each pattern's twenty nearest neighbours, in the coordinates, that have its
        label.

    Raises
    ------
    ValueError
        A wrong shape, a parameter that makes no sense, or the exact method for more than 10 000 patterns.
    TypeError
        Patterns, mask or parameters that are not numeric.

    Notes
    -----
    Clusters are parts of the graph of the twenty nearest neighbours with few connections between them, beyond 2000 patterns as
    in `cluster_fSpec`.

    References
    ----------
    "image" toolbox, image.classify. L. van der Maaten and G. Hinton (2008),
    https://www.jmlr.org/papers/v9/vandermaaten08a.html

    Examples
    --------
    >>> import numpy as np
    >>> patterns = np.random.default_rng(0).poisson(3, (40, 32, 32))
    >>> decomp, labels = cluster_fTSNE(patterns, perplexity=10, clustering=-1, verbose=False, random_state=0)
    >>> decomp.shape, labels
    ((40, 2), [])
    """
    count, mask, low_filter, clustering = _checked(dataset, mask, low_filter, clustering)
    njobs = as_jobs(njobs)
    no_dims = _below(no_dims, "no_dims", count)
    perplexity = as_number(perplexity, "perplexity", above=0)
    if perplexity >= count:
        raise ValueError(f"perplexity must be below the number of patterns, {count}, not {perplexity:g}")
    initial_dims = as_count(initial_dims, "initial_dims", minimum=1)
    max_iter = as_count(max_iter, "max_iter", minimum=250)
    theta = as_number(theta, "theta", minimum=0, maximum=1)
    exact = theta == 0 or no_dims > 3
    if exact and count > _EXACT_TSNE:
        raise ValueError(f"{'theta=0' if theta == 0 else f'no_dims={no_dims}'} needs matrices of {count} x {count}: for more "
                         f"than {_EXACT_TSNE} patterns theta must be above 0 and no_dims at most 3")
    if isinstance(randseed, bool) or not isinstance(randseed, numbers.Integral):
        raise ValueError(f"randseed must be a whole number, not {randseed!r}")
    seed = _seed(random_state if random_state is not None or randseed < 0 else int(randseed))
    features = _features(dataset, mask, low_filter, 1, verbose)

    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if use_pca:
        features = PCA(min(initial_dims, *features.shape), random_state=seed).fit_transform(features)
    embedding = TSNE(no_dims, perplexity=perplexity, max_iter=max_iter, angle=theta or 0.5, init="random", random_state=seed,
                     method="exact" if exact else "barnes_hut", n_jobs=njobs)
    return _labelled(embedding.fit_transform(features), 1.0, clustering, _NEIGHBOURS_TSNE, njobs, seed, scores, verbose)


def _checked(dataset, mask, low_filter, clustering):
    """Number of patterns, mask, low_filter and number of classes (0 for none): checked, before anything is read."""
    count, *shape = _stacks.open_stack(dataset).shape
    if count < 3:
        raise ValueError(f"dataset must have at least 3 patterns to be classified, not {count}")
    if min(shape) < 3:
        raise ValueError(f"dataset must have patterns of at least 3 x 3 pixels, not {shape[0]} x {shape[1]}")
    mask = as_mask(mask, shape)
    if mask is not None and mask.all():
        raise ValueError("mask leaves no pixel")
    low_filter = as_number(low_filter, "low_filter", above=0, maximum=1)
    if low_filter * min(shape) / 2 < 1:
        raise ValueError(f"low_filter={low_filter:g} leaves no frequency of patterns of {shape[0]} x {shape[1]} pixels; "
                         f"it must be at least {2 / min(shape):.3g}")
    if isinstance(clustering, (bool, np.bool_)) or not isinstance(clustering, numbers.Real) or clustering % 1:
        raise ValueError(f"clustering must be a whole number, the number of classes, not {clustering!r}")
    if clustering > count:
        raise ValueError(f"clustering must be at most the number of patterns, {count}, not {clustering!r}")
    return count, mask, low_filter, max(0, round(float(clustering)))


def _below(value, name, count):
    value = as_count(value, name, minimum=1)
    if value >= count:
        raise ValueError(f"{name} must be below the number of patterns, {count}, not {value}")
    return value


def _seed(random_state):
    """One seed for all steps, whatever form chance comes in."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if random_state is None or isinstance(random_state, np.random.Generator):
        return int((random_state or np.random.default_rng()).integers(2**31))
    seed = as_count(random_state, "random_state")
    if seed >= 2**32:
        raise ValueError(f"random_state must be below 2**32, not {seed}")
    return seed


def _features(dataset, mask, low_filter, ncomponent, verbose):
    from ._features import pattern_features

    features = pattern_features(dataset, mask, low_filter, progress=verbose)
    if ncomponent > features.shape[1]:
        raise ValueError(f"ncomponent must be at most the number of frequencies that low_filter={low_filter:g} leaves, "
                         f"{features.shape[1]}, not {ncomponent}")
    if verbose:
        log.info("%d patterns, %d features each", *features.shape)
    return features


def _svd(features, ncomponent, seed):
    from sklearn.decomposition import TruncatedSVD

    return TruncatedSVD(ncomponent, random_state=seed).fit_transform(features)


def _lle(features, ncomponent, nneighbors, method, njobs, seed):
    from sklearn.manifold import LocallyLinearEmbedding
    from sklearn.neighbors import kneighbors_graph

    from ._clusters import parts

    exact = len(features) <= _EXACT_LLE
    if (separate := parts(kneighbors_graph(features, nneighbors, n_jobs=njobs))[0]) > 1:
        warnings.warn(f"with nneighbors={nneighbors} the patterns fall into {separate} groups that are no neighbours: LLE "
                      "shows no more than that; take more neighbours, or decomposition='SpecEM'", stacklevel=3)
    embedding = LocallyLinearEmbedding(n_neighbors=nneighbors, n_components=ncomponent, method=method, random_state=seed,
                                       eigen_solver="dense" if exact else "arpack", n_jobs=njobs)
    try:
        return embedding.fit_transform(features)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"LLEmethod={method!r} fails with nneighbors={nneighbors}, ncomponent={ncomponent}: "
                         f"{' '.join(str(error).split())}") from error


def _spectral(features, ncomponent, nneighbors, njobs, seed):
    """Coordinates, and how much each counts in distances: the smoother it is, the longer the way from end to end."""
    from ._clusters import neighbour_graph, smoothest

    functions, roughness = smoothest(neighbour_graph(features, nneighbors, njobs), ncomponent + 1, seed)
    return functions[:, 1:], 1 / np.sqrt(np.maximum(roughness[1:], 1e-12))


def _labelled(decomp, weights, clustering, neighbours, njobs, seed, scores, verbose):
    """What the functions return: coordinates, labels, and scores if they are wanted."""
    from ._clusters import agreement, spectral_clusters

    decomp = np.ascontiguousarray(decomp, np.float64)
    labels: Any = []
    sure: Any = []
    if clustering:
        places = decomp * weights
        labels = spectral_clusters(places, clustering, neighbours, seed, njobs)
        sure = agreement(places, labels, neighbours, njobs) if scores else []
        if verbose:
            log.info("classes of %s patterns", np.bincount(labels, minlength=clustering).tolist())
    return (decomp, labels, sure) if scores else (decomp, labels)
