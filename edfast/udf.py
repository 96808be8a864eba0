"""The centre of every frame as a LiberTEM UDF: on data sets, on a Dask cluster, and on live acquisitions (LiberTEM-live)."""
