"""Commands about ensembles themselves."""

from pathlib import Path
from typing import Annotated

import typer

from emsearch.cli.forms import AsJson

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="ENSEMBLE", help="An ensemble's folder.")]


@app.command()
def info(ensemble: Folder, as_json: AsJson = False) -> None:
    """Say what an ensemble segments, what it scored, and what it is made of."""
    import json
    from dataclasses import asdict

    from emsearch.inference.card import read_card

    card = read_card(ensemble)
    typer.echo(
        json.dumps(asdict(card), indent=1) if as_json else (ensemble / "README.md").read_text()
    )


@app.command()
def export(
    ensemble: Folder,
    out: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="Default: beside the ensemble's folder.")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="As an ONNX graph.")] = False,
    torch_export: Annotated[
        bool, typer.Option("--torch-export", help="As a program of torch.export.")
    ] = False,
) -> None:
    """Write an ensemble as one graph for other runtimes, checked to equal it to 1e-4."""
    from emsearch.errors import SpecError

    if onnx == torch_export:
        raise SpecError("say --onnx or --torch-export: one of the two")
    path = out or ensemble.resolve().with_suffix(".onnx" if onnx else ".pt2")
    from emsearch.inference.ensemble import load_ensemble

    loaded = load_ensemble(ensemble, "cpu")
    if onnx:
        try:
            from emsearch.ensembles.export_onnx import export_onnx
        except ModuleNotFoundError as error:
            raise SpecError(
                f"ONNX needs the package {error.name}; run: pip install 'emsearch[onnx]'"
            ) from error
        largest = export_onnx(loaded, path)
    else:
        from emsearch.ensembles.export import export_torch

        largest = export_torch(loaded, path)
    typer.echo(f"{path}  (largest difference of a probability: {largest:.1e})")
