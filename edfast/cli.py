"""The `edfast` command."""

import csv
import io
import math
import os
import statistics
import sys
import time
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import click
from click.core import ParameterSource

from . import __version__

# Names of arguments at the beginning of messages, where the option has another one.
_OPTIONS = {"clustering": "--classes", "nneighbors": "--neighbors", "ncomponent": "--components", "no_dims": "--components",
            "njobs": "--jobs", "random_state": "--seed", "radii_range": "--radii", "voltage_kv": "--voltage"}
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _Failure(click.ClickException):
    """Something that makes all work pointless: one line, exit code 2."""

    exit_code = 2

    def show(self, file=None):
        click.echo(f"edfast: {self.format_message()}", err=True)


class _Interrupted(_Failure):
    """Ctrl-C."""

    exit_code = 1


def _show_version(context, _parameter, wanted):
    if wanted:
        click.echo(f"edfast {__version__}")
        context.exit()


@click.group(context_settings=_CONTEXT)
@click.option("-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
              help="Show the version and exit.")
def main():
    """The beam centre of electron-diffraction patterns, in milliseconds.

    \b
    Examples:
      edfast demo -o demo/                                 try it on simulated files
      edfast recalibrate day1/*.dm4 -p cal.poni -o out/    one PONI for each image
    """  # noqa: D301 (click wants the character itself)


@main.command(short_help="Find the beam in images and write a PONI file for each.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("-p", "--poni", required=True, type=click.Path(), metavar="FILE",
              help="PONI file with the distance and the tilts.")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FOLDER",
              help="Folder for the PONI files, the ledger, table, picture and report; made if needed.")
@click.option("--beamstop/--no-beamstop", default=True, show_default=True, help="Whether a beam stop hides the direct beam.")
@click.option("--method", type=click.Choice(["ring", "covariance", "max", "centroid"]), default="ring", show_default=True,
              help="ring: the accurate one. With a beam stop also covariance (as documented: the centroid of the brightest "
                   "region); without also max (as documented: the brightest pixel) and centroid (of the direct beam).")
@click.option("--convention", type=click.Choice(["pyfai", "documented"]), default="pyfai", show_default=True,
              help="pyfai: the beam exactly where it was found. documented: the formula of the recalibration document.")
@click.option("-m", "--mask", type=click.Path(), metavar="FILE",
              help="Mask for all images (.npy or an image): non-zero pixels are left out.")
@click.option("--threshold-rel", type=float, default=0.5, show_default=True,
              help="For covariance: factor on Otsu's threshold.")
@click.option("--min-size", type=int, default=50, show_default=True,
              help="For covariance: smallest bright region, in pixels.")
@click.option("--frame", type=click.IntRange(min=0), help="Which image of files with several, from 0.")
@click.option("-j", "--jobs", type=click.IntRange(min=1),
              help="Files in work at the same time; by default the number of cores, 8 at most.")
@click.option("--resume", is_flag=True,
              help="Finish the run that wrote to FOLDER: what is missing, failed, or has changed since.")
@click.option("--overwrite", is_flag=True, help="Begin anew although FOLDER holds an interrupted run.")
@click.option("--smooth", is_flag=True, help="Add a robust trajectory of the centre as columns of its own.")
@click.option("--scheduler", metavar="ADDRESS", help="Let a Dask cluster do the work, whose scheduler is at tcp://HOST:PORT.")
@click.option("-v", "--verbose", is_flag=True, help="A line for each file, and where errors come from.")
def recalibrate(files, poni, output, scheduler, verbose, **options):
    """Find the beam in each of FILES and write a PONI file that has it there; distance and tilts stay.

    FILES are names, or one pattern in quotes, for more files than a command line takes. FOLDER receives a PONI file for each
    image; recalibration.sqlite, the ledger, and recalibration.csv, both with a row for each (centre, shift from the input
    PONI, semi-axes, errors, flags, time); drift.png; and report.html. A file that fails is reported and does not stop the
    others. Inputs are never changed. An interrupted run is finished by the same command with --resume.

    Exit code: 0 all files recalibrated, 1 some failed or the run was interrupted, 2 wrong usage.

    \b
    Examples:
      edfast recalibrate day1/*.dm4 -p cal.poni -o out/
      edfast recalibrate "day1/**/*.dm4" -p cal.poni -o out/ --resume
      edfast recalibrate direct_*.dm4 -p cal.poni -o out/ --no-beamstop --method centroid
      edfast recalibrate series.h5 --frame 12 -p cal.poni -o out/ -m hot_pixels.npy
    """  # noqa: D301
    if options["method"] != "covariance":
        _refuse(f"with --method {options['method']}", "threshold_rel", "min_size")
    if options["resume"]:
        _refuse("with --resume", "overwrite")
    with _one_line(verbose):
        if scheduler is None:
            ledger = run(files, poni, output, verbose=verbose, **options)
        else:
            from .batch import dask_executor

            with dask_executor(scheduler, options["jobs"]) as (options["executor"], options["jobs"]):
                ledger = run(files, poni, output, verbose=verbose, **options)
    sys.exit(_exit_code(ledger))


@main.command(short_help="Write the ledger of a batch as CSV, Parquet or NeXus.")
@click.argument("ledger", type=click.Path())
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def export(ledger, files, verbose):
    """Write what is in LEDGER, the output folder of `edfast recalibrate`, to FILES: .csv, .parquet, or .h5 and .nxs for NeXus.

    NeXus files show the drift of the beam when silx or nexpy open them. Parquet needs pip install 'edfast[parquet]'.

    Exit code: 0 done, 2 wrong usage or a file that cannot be read or written.

    \b
    Examples:
      edfast export out/ run.parquet run.nxs
    """  # noqa: D301
    from .batch import Ledger, export_ledger

    with _one_line(verbose):
        export_ledger(Ledger(ledger), files)


@main.command(short_help="Calibrate with an image of a known crystal's rings, and write a PONI file.")
@click.argument("cif", type=click.Path())
@click.argument("image", type=click.Path())
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="PONI file to write; a picture goes beside it (.png).")
@click.option("-w", "--wavelength", type=float, metavar="ANGSTROM", help="If the file does not say it.")
@click.option("--voltage", "voltage_kv", type=float, metavar="KV", help="Accelerating voltage, instead of the wavelength.")
@click.option("-p", "--pixel-size", type=float, metavar="MICROMETRE",
              help="Of the image (the camera's times the binning), if the file does not say it.")
@click.option("-l", "--distance", type=float, metavar="MM", help="First guess of the camera length; it may be wrong.")
@click.option("-m", "--mask", type=click.Path(), metavar="FILE", help="Mask (.npy or an image): non-zero pixels are left out.")
@click.option("--tilt", is_flag=True, help="Refine rot1 and rot2 too, if the image supports them.")
@click.option("--orientation", type=click.IntRange(1, 4), default=3, show_default=True, help="pyFAI's.")
@click.option("--frame", type=click.IntRange(min=0), help="Which image of a file with several, from 0.")
@click.option("--interactive", is_flag=True, help="By hand, as documented: print the settings and run pyFAI-calib2.")
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def calibrate(cif, image, output, mask, distance, tilt, orientation, interactive, verbose, **known):
    """Calibrate with IMAGE, which shows the rings of the crystal structure CIF.

    The rings are found, told apart by the ratios of their radii, and camera length and centre are refined on all of them; the
    PONI file has the errors as a comment, and its picture shows the rings where they are expected and how far each is off.
    With --interactive the files for pyFAI-calib2 are made and the program is run instead; -o, -m, --tilt and --orientation are
    its own business then.

    Exit code: 0 calibrated, 1 the rings are not those of the structure, 2 wrong usage or a file that cannot be read.

    \b
    Examples:
      edfast calibrate gold.cif rings.dm4 -o cal.poni
      edfast calibrate gold.cif rings.tif -o cal.poni --voltage 200 -p 30
      edfast calibrate --interactive gold.cif rings.dm4
    """  # noqa: D301
    known["distance"] = None if distance is None else distance / 1e3
    with _one_line(verbose):
        if interactive:
            from .calibration import perform_geometric_calibration

            if output or mask or tilt or orientation != 3:
                raise click.UsageError("--interactive does not go with -o, -m, --tilt and --orientation")
            perform_geometric_calibration(cif, image, **known)
        elif output is None:
            raise click.UsageError("give the name of the PONI file with -o, or --interactive")
        else:
            _calibrate(cif, image, output, mask, known, tilt=tilt, orientation=orientation)


@main.command(short_help="Tell the patterns of particles in a stack from empty shots.")
@click.argument("file", type=click.Path())
@click.option("-b", "--background", required=True, metavar="FILE",
              help="Pattern of an empty shot (.npy, an image, or the path of a data set in FILE), best the mean of many.")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE",
              help="HDF5 or CXI file for scores and labels; a histogram goes beside it (.png).")
@click.option("-d", "--dataset", metavar="NAME",
              help="Path of the patterns in FILE; by default what the file marks, or the largest.")
@click.option("-m", "--mask", metavar="FILE",
              help="Mask (.npy, an image, or the path of a data set in FILE): non-zero pixels are left out.")
@click.option("--method", type=click.Choice(["chi2", "pearson"]), default="chi2", show_default=True,
              help="Squared distance from the background, or correlation of radial profiles.")
@click.option("--center", type=float, nargs=2, metavar="ROW COLUMN",
              help="Centre of the radii; by default it is found by the symmetry of the mean pattern.")
@click.option("--radii", type=float, nargs=2, metavar="INNER OUTER", help="Only these radii, in pixels.")
@click.option("--cut-off", type=float, help="For chi2: hits are above; by default the scores are divided into two groups.")
@click.option("--max-cc", type=float, default=0.5, show_default=True, help="For pearson: hits are below.")
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def hits(file, background, output, mask, verbose, **options):
    """Find the hits among the patterns in FILE (HDF5, CXI, NeXus or .npy): which show a particle, and which are empty.

    The scores and labels of all patterns (1 = hit), the numbers of the hits and a histogram go to an HDF5 file that silx and
    nexpy plot; the picture shows the histogram and the cut. FILE may be larger than the memory.

    Exit code: 0 done, 2 wrong usage or a file that cannot be read.

    \b
    Examples:
      edfast hits run7.cxi -b background.npy -o run7_hits.h5
      edfast hits run7.cxi -b background.npy -o run7_hits.h5 --method pearson --radii 15 120
    """  # noqa: D301
    from .image._h5 import picture_beside
    from .image._hits_file import hits_file

    _refuse(f"with --method {options['method']}", "cut_off" if options["method"] == "pearson" else "max_cc")
    with _one_line(verbose):
        picture_beside(output, file, background, mask)
        if mask is not None and Path(mask).exists():
            from ._recalibrate import read_mask

            mask = read_mask(mask)
        found, picture = hits_file(file, _background(background), output, mask=mask, progress=True, **options)
    share = found.labels.mean()
    click.echo(f"{int(found.labels.sum())} of {found.labels.size} patterns are hits ({share:.1%}), cut at {found.cut:.6g}\n"
               f"  results   {output}\n  picture   {picture}")


def _background(path):
    """The image in a .npy file or in any file that `load_data` reads; the name itself where there is no such file."""
    if not Path(path).exists():
        return path
    if Path(path).suffix.lower() != ".npy":
        from ._recalibrate import read_image

        return read_image(path)
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"background {path} cannot be read: {error}") from None


@main.command(short_help="Classify the diffraction patterns of a stack, without examples.")
@click.argument("file", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE",
              help="HDF5 file for coordinates, labels and scores; a picture goes beside it (.png).")
@click.option("-d", "--dataset", metavar="NAME",
              help="Path of the patterns in FILE; by default what the file marks, or the largest.")
@click.option("-m", "--mask", metavar="FILE",
              help="Mask (.npy, an image, or the path of a data set in FILE): non-zero pixels are left out.")
@click.option("--method", type=click.Choice(["SpecEM", "LLE", "SVD", "TSNE"]), default="SpecEM", show_default=True,
              help="Spectral embedding, locally linear embedding, singular value decomposition, or t-SNE.")
@click.option("-c", "--classes", type=click.IntRange(min=0), default=2, show_default=True, help="How many; 0 for none.")
@click.option("--low-filter", type=float, default=0.3, show_default=True, help="Part of the Fourier plane that is compared.")
@click.option("--components", type=click.IntRange(min=1), default=2, show_default=True, help="Number of coordinates.")
@click.option("--neighbors", type=click.IntRange(min=1), default=10, show_default=True,
              help="Of a pattern, for SpecEM and LLE.")
@click.option("--perplexity", type=float, default=20.0, show_default=True, help="For t-SNE.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes the result repeatable.")
@click.option("-j", "--jobs", type=int, default=-1, help="Threads for the search of neighbours; by default all cores.")
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def classify(file, output, mask, classes, neighbors, verbose, **options):
    """Classify the patterns in FILE (HDF5, CXI, NeXus or .npy): single particles from several, one kind from another.

    Coordinates, labels and scores (how many of a pattern's neighbours are in its class) go to an HDF5 file that silx and nexpy
    plot; the picture shows the coordinates, and sample patterns of each class. Class 0 is the largest.

    Exit code: 0 classified, 2 wrong usage or a file that cannot be read.

    \b
    Examples:
      edfast classify hits.cxi -o classes.h5
      edfast classify patterns.h5 -o classes.h5 -m /mask --method LLE --neighbors 5
    """  # noqa: D301
    from .image._classify_file import classify_file
    from .image._h5 import picture_beside

    _refuse(f"with --method {options['method']}", *{"TSNE": ["neighbors"], "SVD": ["neighbors", "perplexity"]}.get(
        options["method"], ["perplexity"]))
    with _one_line(verbose):
        picture_beside(output, file, mask)
        if mask is not None and Path(mask).exists():
            from ._recalibrate import read_mask

            mask = read_mask(mask)
        found, picture = classify_file(file, output, mask=mask, classes=classes, neighbours=neighbors, progress=True,
                                       **options)
    for number in range(classes):
        members = found.labels == number
        click.echo(f"class {number}: {int(members.sum()):6} patterns, score {found.scores[members].mean():.3f}")
    click.echo(f"{len(found.decomp)} patterns classified\n  results   {output}\n  picture   {picture}")


@main.command(short_help="Recalibrate simulated files, and compare with the truth.")
@click.option("-o", "--output", default="demo", show_default=True, type=click.Path(), metavar="FOLDER",
              help="Folder for the images, the PONI files and the results; made if needed.")
def demo(output):
    """Recalibrate simulated files, and compare with the truth.

    A dozen DM4 images of a gold film with a drifting beam, half of them with a beam stop, and their PONI file are written to
    FOLDER and recalibrated as `edfast recalibrate` does it.
    """
    from .simulate import write_demo

    with _one_line():
        images, poni, truth = write_demo(_make_folder(output))
        click.echo(f"{len(images)} simulated images, {poni.name} and {truth.name} are in {output}{os.sep}\n")
        ledger = run(images, poni, Path(output) / "recalibrated", overwrite=True)
        _compare(ledger.rows(), truth)
    sys.exit(_exit_code(ledger))


@main.command(short_help="Show a run over many files as one HTML page.")
@click.argument("ledger", type=click.Path())
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="The page; by default report.html beside the ledger.")
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def report(ledger, output, verbose):
    """Show the run that LEDGER (recalibration.sqlite, or the folder that it is in) describes as one HTML page.

    Drift, scatter and errors of the centre, the ellipse, the worst and the failed files with small pictures, options and
    versions. The page needs no other file and no network. `edfast recalibrate` writes it at the end of a run.

    Exit code: 0 written, 2 the ledger cannot be read or the page not be written.
    """
    from .batch import Ledger
    from .report import write_report

    with _one_line(verbose):
        rows = Ledger(ledger)
        click.echo(f"report  {write_report(rows, output or rows.folder / 'report.html')}")


@main.command(short_help="How long everything takes on this machine, and how to run a batch.")
@click.argument("image", required=False, type=click.Path())
@click.option("-n", "--files", type=click.IntRange(min=1), default=100_000, show_default=True, metavar="N",
              help="Number of such files whose time is predicted.")
@click.option("--method", type=click.Choice(["ring", "covariance"]), default="ring", show_default=True, help="Of the batch.")
@click.option("--repeat", type=click.IntRange(min=1), default=30, show_default=True, metavar="N",
              help="Repetitions of a stage.")
@click.option("--frame", type=click.IntRange(min=0), help="Which image of a file with several, from 0.")
@click.option("--json", type=click.Path(), metavar="FILE", help="Write the figures as JSON too; - shows JSON only.")
@click.option("--save", is_flag=True, help="Keep the recommended settings: `edfast recalibrate` then uses them.")
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def bench(image, json, save, verbose, **options):
    """Time every stage on IMAGE (a simulated one of 2048 x 2048 pixels without it), with one thread and with all.

    A batch is run on temporary copies with several numbers of files in work (jobs) and files of a task (block); what is
    recommended, and how long N files will take, follows from that. It takes about half a minute on a quiet machine. Times
    are medians and 95th percentiles after warm-up.

    Exit code: 0 done, 1 no centre is found in the image, so that a batch cannot be measured, 2 wrong usage or files.

    \b
    Examples:
      edfast bench
      edfast bench day1/first.dm4 -n 250000 --save
      edfast bench day1/first.dm4 --json -
    """  # noqa: D301
    from . import _measure

    with _one_line(verbose):
        text, code = _measure.run(image, json, save, lambda said: click.echo(f"edfast: {said}", err=True), **options)
    click.echo(text)
    sys.exit(code)


@main.command(short_help="Which parameters to use, measured on your own images.")
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("-p", "--poni", required=True, type=click.Path(), metavar="FILE", help="PONI file of the images.")
@click.option("-o", "--output", default="tune.png", show_default=True, type=click.Path(), metavar="FILE", help="The figure.")
@click.option("--threshold-rel", type=float, nargs=2, default=(0.2, 2.0), show_default=True, metavar="FROM TO",
              help="Range of the factor on Otsu's threshold.")
@click.option("--min-size", type=int, nargs=2, metavar="FROM TO",
              help="Range of the smallest bright region, in pixels; by default from 1 to what suits the size of the images.")
@click.option("--tolerance", type=float, default=0.5, show_default=True, metavar="PIXEL",
              help="By how much the centre may move on a plateau.")
@click.option("-m", "--mask", type=click.Path(), metavar="FILE",
              help="Mask for all images (.npy or an image): non-zero pixels are left out.")
@click.option("--frame", type=click.IntRange(min=0), help="Which image of files with several, from 0.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Images in work at the same time; by default as for a batch.")
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def tune(images, poni, output, mask, verbose, **options):
    """Sweep threshold_rel and min_size over IMAGES, and try the options of the ring fit.

    FILE shows how far the centre moves, where it does not (the plateau), and how far it is from the centre of the rings. At
    the end it is said which method and parameters to use, and why.

    Exit code: 0 done, 1 no image has a centre, 2 wrong usage or a PONI file, mask or figure that cannot be read or written.

    \b
    Examples:
      edfast tune day1/*07.dm4 -p cal.poni
      edfast tune first.dm4 last.dm4 -p cal.poni --threshold-rel 0.5 1.5 -o parameters.png
    """  # noqa: D301
    from . import _tune
    from ._files import check_not_input
    from ._recalibrate import read_mask
    from .geometry import read_poni

    with _one_line(verbose):
        if Path(output).suffix.lower() != ".png":
            raise ValueError(f"output {output} is a picture: its name must end in .png")
        check_not_input(output, poni, *images, mask)
        geometry, mask = read_poni(poni), None if mask is None else read_mask(mask)
        with _progress(len(set(images))) as (step, _say):
            tuning = _tune.tune(images, geometry, mask=mask, step=step, **options)
        for image in tuning.unusable:
            click.echo(f"edfast: {image.error}", err=True)
        if tuning.images:
            _tune.write_picture(tuning, output)
    click.echo(_tune.table(tuning) + (f"\n  figure  {output}" if tuning.images else ""))
    sys.exit(0 if tuning.images else 1)


@main.command(short_help="Follow the centre in the new files of a folder, on a page too.")
@click.option("--watch", "folder", required=True, type=click.Path(), metavar="FOLDER", help="Folder that is being filled.")
@click.option("-p", "--poni", required=True, type=click.Path(), metavar="FILE",
              help="PONI file with the distance and the tilts.")
@click.option("-o", "--output", default=".", type=click.Path(), metavar="FOLDER", show_default=True,
              help="Folder for newest.poni, which is replaced with each frame; made if needed.")
@click.option("--each", is_flag=True, help="A PONI file for each frame too: NAME.dm4.poni, NAME.h5_frame12.poni.")
@click.option("-m", "--mask", type=click.Path(), metavar="FILE",
              help="Mask for all frames (.npy or an image): non-zero pixels are left out.")
@click.option("--radius", type=float, metavar="PIXEL", help="Follow the ring of about this radius; by default all rings.")
@click.option("--pattern", default="*", show_default=True, metavar="GLOB", help="Only files with such names.")
@click.option("--existing", is_flag=True, help="Do the files too that are there at the start.")
@click.option("--settle", type=float, default=0.2, show_default=True, metavar="SECONDS",
              help="A file is complete when it has not changed for so long.")
@click.option("--skip", is_flag=True, help="When behind, leave out the older files; by default they are done later.")
@click.option("--serve", type=click.IntRange(0, 65535), metavar="PORT", help="Show it on a page, too; 0 for any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="With --serve: the address to listen on; other than the default lets other machines look.")
@click.option("-v", "--verbose", is_flag=True, help="Where errors come from.")
def track(folder, poni, output, verbose, **options):
    """Follow the centre in the files of FOLDER as they arrive, until Ctrl-C.

    A line for each frame goes to stdout, with tabs between time, cx, cy, their errors, flags (ok, lost, jumped, late), latency
    [s], number of the frame and name of the file; all else goes to stderr. A file that is being written is left until it is
    complete. When files come faster than they can be done, the newest go first.

    Exit code: 0 ended by Ctrl-C or SIGTERM, 2 wrong usage or a file that cannot be read.

    \b
    Examples:
      edfast track --watch /data/today -p cal.poni -o out/
      edfast track --watch /data/today -p cal.poni --pattern '*.dm4' --serve 8080
      edfast track --watch /data/today -p cal.poni > drift.tsv
    """  # noqa: D301
    from ._track import track

    if options["serve"] is None:
        _refuse("without --serve", "host")
    with _one_line(verbose):
        track(folder, poni, _make_folder(output), say=_say_or_stop, warn=lambda text: click.echo(f"edfast: {text}", err=True),
              **options)


def _say_or_stop(text):
    """A line on stdout; BrokenPipeError if nobody reads it, once: what is left is not tried again at the end."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


@main.command(short_help="Compile all kernels, so that the first image does not wait.")
def warmup():
    """Compile all kernels now, so that the first image does not wait for them.

    It takes some minutes, half of them for the first kind of pixels, and seconds where it was done before. Compiled
    kernels are kept on disk, for this version of edfast; the folder is NUMBA_CACHE_DIR where that is set.
    """
    from ._warmup import warm_up

    with _one_line():
        for _, seconds in warm_up(begin=lambda name: click.echo(f"{name:10}", nl=False)):
            click.echo(f" {seconds:6.1f} s")


def _calibrate(cif, image, output, mask, known, **options):
    """Calibrate as the command does: PONI, picture, table."""
    from ._files import check_not_input
    from ._recalibrate import read_image, read_mask
    from .calibration import CalibrationError, calibrate
    from .plots import plot_calibration

    picture = Path(output).with_suffix(".png")
    if Path(output).suffix.lower() == ".png":
        raise ValueError(f"output {output} is the name of the picture: give that of the PONI file, {picture.stem}.poni")
    for target in (output, picture):
        check_not_input(target, image, cif, mask)
    try:
        found = calibrate(cif, image, output=output, mask=None if mask is None else read_mask(mask), **known, **options)
    except CalibrationError as error:
        click.echo(f"edfast: {error}", err=True)
        sys.exit(1)
    _save(plot_calibration(read_image(image, known["frame"]), found), picture)
    click.echo(f"{found}\n  PONI file  {output}\n  picture    {picture}")


def run(files, poni, folder, *, verbose=False, **options):
    """Recalibrate files as the command does, with its output, and return the ledger."""
    from .batch import expand, recalibrate_batch

    start = time.perf_counter()
    try:
        with _progress() as (step, say):

            def progress(row, done, total):
                _report(row, say, verbose)
                step(done, total)

            # Several patterns are expanded in their order; a single one is sorted by the ledger, without a list of names.
            names = files[0] if len(files) == 1 else chain.from_iterable(map(sorted, [expand(os.fspath(p)) for p in files]))
            ledger = recalibrate_batch(names, poni, output=folder, progress=progress, **options)
    except KeyboardInterrupt:
        table = Path(folder) / "recalibration.csv"
        raise _Interrupted(f"interrupted; what was done is in {table}, and --resume goes on from there" if table.exists() else
                           "interrupted before any file was done") from None
    _summarise(ledger, time.perf_counter() - start)
    return ledger


def _exit_code(ledger):
    counts = ledger.counts()
    return 0 if counts["ok"] and not counts["failed"] and not counts["pending"] else 1


def _report(row, say, verbose):
    path, error = row["path"], row["error"]
    if row["status"] != "ok":
        say(f"edfast: {error if path in error else f'{path}: {error}'}")
        if verbose:
            say(row["trace"].rstrip())
    elif verbose:
        say(f"{path}: ({row['cx']:.2f}, {row['cy']:.2f}), shift ({row['dx']:+.2f}, {row['dy']:+.2f}) px, "
            f"{row['milliseconds']:.1f} ms")


def _summarise(ledger, seconds):
    counts, folder = ledger.counts(), ledger.folder
    click.echo(f"{counts['ok']} of {len(ledger)} files recalibrated in {seconds:.1f} s\n"
               f"  PONI files  {folder}{os.sep}\n  table       {folder / 'recalibration.csv'}\n"
               f"  drift       {folder / 'drift.png'}\n  report      {folder / 'report.html'}")
    flagged, misplaced = 0, 0.0
    for row in ledger.rows("ok"):
        flagged, misplaced = flagged + bool(row["flags"]), max(misplaced, row["misplaced"])
    if mixture := ledger.mixture():
        click.echo(f"edfast: the results are of different options: {mixture}; give all files, or another folder", err=True)
    if flagged:
        click.echo(f"edfast: {flagged} centre{'s are' if flagged > 1 else ' is'} flagged, because the beam jumps there or is "
                   "badly known; the report shows which", err=True)
    if misplaced > 1:
        click.echo(f"edfast: the documented convention puts the beam up to {misplaced:.1f} pixels from where it was found; "
                   "--convention pyfai puts it there", err=True)


def _compare(rows, truth):
    """Print where the beam was found, where it is, and the distance between the two."""
    with truth.open(newline="") as file:
        true = {line["file"]: (float(line["cx"]), float(line["cy"])) for line in csv.DictReader(file)}
    click.echo(f"\n{'image':24}{'found (x, y)':>22}{'true (x, y)':>22}{'error / pixel':>16}")
    errors = []
    for row in rows:
        name = Path(row["path"]).name
        errors.append(math.dist((row["cx"], row["cy"]), true[name]))
        found = f"({row['cx']:.3f}, {row['cy']:.3f})" if row["status"] == "ok" else row["status"]
        click.echo(f"{name:24}{found:>22}{'({:.3f}, {:.3f})'.format(*true[name]):>22}{errors[-1]:16.3f}")
    known = [error for error in errors if error == error]
    click.echo(f"{'median':24}{'':44}{statistics.median(known) if known else math.nan:16.3f}")


def _save(figure, picture):
    from ._files import write_atomically

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(picture, buffer.getvalue())


def _make_folder(folder):
    from .batch import make_folder

    return make_folder(folder)


@contextmanager
def _progress(total=None):
    """(step, say): a bar on a terminal, on stderr, that lines of text do not tear apart; plain lines elsewhere.

    ``step()`` is one file more, ``step(done, total)`` says how many there are.
    """
    if not sys.stderr.isatty():
        yield (lambda *_: None), (lambda text: click.echo(text, err=True))
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="file", file=sys.stderr, leave=False) as bar:

        def step(done=None, total=None):
            bar.total = total or bar.total
            bar.update(1 if done is None else done - bar.n)

        yield step, (lambda text: bar.write(text, file=sys.stderr))


def _refuse(when, *names):
    """UsageError for an option of these names that was given although it does nothing then."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[-1]} does nothing {when}")


@contextmanager
def _one_line(verbose=False):
    """Errors as one line and exit code 2, or as they are."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if verbose:
            raise
        words = str(error).split()
        raise _Failure(" ".join([_OPTIONS.get(word, word) for word in words[:1]] + words[1:])) from None
