"""Graphs of nearest neighbours, their smoothest functions, and the clusters that follow: nothing here is N x N beyond small N.

The smoothest functions on a graph are the eigenvectors of its normalised Laplacian with the smallest eigenvalues, divided by
the root of each point's weight. scikit-learn finds the same, but needs minutes where the graph has nearly separate parts.
"""

import numpy as np

_DENSE = 200        # points up to which all eigenvectors are computed
_FACTORED = 5000    # points up to which the factors of a graph of neighbours are small
_LANDMARKS = 2000   # points among which clusters are looked for
_ITERATIONS = 100_000
_LINK = 0.1         # weight of a link between parts; mutual neighbours have 1


def neighbour_graph(points, neighbours, njobs=1):
    """Symmetric graph (N, N), sparse and connected: the mean of "j is a neighbour of i" and the reverse.

    Each point counts among its own neighbours, but not as a connection. Parts that are not connected are linked by the
    shortest lines between them: without links, the eigenvectors of a graph say no more than which part is which. All links
    have the same weight, so that a few patterns are not a class of their own because they are far from all others.
    """
    from scipy.sparse import coo_array, csr_array
    from sklearn.neighbors import kneighbors_graph

    near = kneighbors_graph(points, min(neighbours, len(points) - 1), include_self=True, n_jobs=njobs)
    graph = csr_array((near + near.T) / 2)
    graph.setdiag(0)
    graph.eliminate_zeros()
    while (found := parts(graph))[0] > 1:
        ends = _shortest_links(points, found[1])
        links = coo_array((np.full(ends.shape[1], _LINK), tuple(ends)), shape=graph.shape).tocsr()
        graph = graph.maximum(links).maximum(links.T).tocsr()
    return graph


def _shortest_links(points, part):
    """The ends (2, n) of the shortest line from each part of a graph, but the largest, to another part."""
    from sklearn.metrics import pairwise_distances_chunked

    outside = np.flatnonzero(part != np.bincount(part).argmax())

    def nearest(distances, start):
        distances[part[outside[start:start + len(distances)], None] == part] = np.inf
        ends = distances.argmin(axis=1)
        return np.stack([ends, np.take_along_axis(distances, ends[:, None], axis=1)[:, 0]], axis=1)

    chunks = pairwise_distances_chunked(points[outside], points, reduce_func=nearest, working_memory=64)
    ends, distances = np.concatenate(list(chunks)).T
    order = np.lexsort((distances, part[outside]))
    first = order[np.unique(part[outside][order], return_index=True)[1]]
    return np.stack([outside[first], ends[first].astype(int)])


def parts(graph):
    """Number of connected parts of a graph, and the part (N,) of each point."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(graph, directed=False)


def smoothest(graph, count, seed):
    """The `count` smoothest functions (N, count) on a connected graph, and how rough each one is, from the constant one on.

    Parameters
    ----------
    graph : sparse array of shape (N, N)
        Symmetric, not negative.
    count : int
        Below N.
    seed : int
        Of the vector that the iterations begin with.

    Returns
    -------
    functions : ndarray of shape (N, count)
        The value of each that is farthest from zero is positive.
    roughness : ndarray of shape (count,)
        The eigenvalues, from 0 to 2, increasing: sum of the squared differences along all connections.
    """
    from scipy.sparse import diags_array, eye_array
    from scipy.sparse.linalg import LinearOperator, eigsh, splu

    n = graph.shape[0]
    root = np.sqrt(np.asarray(graph.sum(axis=0)).reshape(-1))
    similar = diags_array(1 / root) @ graph @ diags_array(1 / root)
    if n <= max(_DENSE, count + 1):
        values, vectors = np.linalg.eigh(similar.toarray())
    else:
        start = np.random.default_rng(seed).uniform(-1, 1, n)
        if n <= _FACTORED:
            # Close to the eigenvalue 1 of the constant function, which is known: its inverse separates what is near it.
            shift = 1 + 1e-6
            factors = splu((shift * eye_array(n) - similar).tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
                           options={"SymmetricMode": True})
            values, vectors = eigsh(similar, count, sigma=shift, v0=start, which="LM",
                                    OPinv=LinearOperator((n, n), lambda v: -factors.solve(v), dtype=float))
        else:
            values, vectors = eigsh(similar, count, which="LA", v0=start, tol=1e-7, maxiter=_ITERATIONS,
                                    ncv=max(40, 3 * count))
    order = np.argsort(-values)[:count]
    functions = vectors[:, order] / root[:, None]
    return functions * np.sign(functions[np.abs(functions).argmax(axis=0), np.arange(count)]), 1 - values[order]


def spectral_clusters(points, clusters, neighbours, seed, njobs=1):
    """Cluster (N,) of each of the points (N, ndim): few connections between, many within; 0 is the largest cluster.

    Of many points some are drawn, and the others follow their nearest ones: with ten neighbours among very many, a graph knows
    no longer that a gap is wide, and cuts thin clusters across.
    """
    from sklearn.cluster import KMeans
    from sklearn.neighbors import KNeighborsClassifier

    if clusters == 1:
        return np.zeros(len(points), np.int64)
    landmarks = points
    if len(points) > max(_LANDMARKS, 20 * clusters):
        chosen = np.random.default_rng(seed).choice(len(points), max(_LANDMARKS, 20 * clusters), replace=False)
        landmarks = points[np.sort(chosen)]
    functions, _ = smoothest(neighbour_graph(landmarks, neighbours, njobs), clusters, seed)
    found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(functions)
    if landmarks is not points:
        found = KNeighborsClassifier(min(5, neighbours), n_jobs=njobs).fit(landmarks, found).predict(points)
    sizes = np.bincount(found, minlength=clusters)
    return np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")[found]


def agreement(points, labels, neighbours, njobs=1):
    """Share (N,) of each point's nearest neighbours that have its own label."""
    from sklearn.neighbors import NearestNeighbors

    finder = NearestNeighbors(n_neighbors=min(neighbours, len(points) - 1), n_jobs=njobs).fit(points)
    return (labels[finder.kneighbors(return_distance=False)] == labels[:, None]).mean(axis=1)
