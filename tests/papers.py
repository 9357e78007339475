"""PDF files for tests: good ones, and ones that mean harm."""

from collections.abc import Iterable, Sequence

Box = tuple[float, float]
A4: Box = (595, 842)


def paper(*texts: str, box: Box = A4) -> bytes:
    """Return a document with one page for each text."""
    contents = [f"BT /F1 24 Tf 60 {box[1] - 90:g} Td ({text}) Tj ET" for text in texts]
    return document(contents, box=box)


def document(contents: Sequence[str], *, box: Box = A4, more: Iterable[str] = (), named: str = "") -> bytes:
    """Return a document with these pages; `more` are objects from number 4 on, `named` what pages may draw of them."""
    extra = list(more)
    first = 4 + len(extra)
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(contents)))
    size = f"[0 0 {box[0]:g} {box[1]:g}]"
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *extra,
    ]
    for n, content in enumerate(contents):
        resources = f"<< /Font << /F1 3 0 R >> /XObject << {named} >> >>"
        parts.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox {size} /Resources {resources} /Contents {first + 2 * n + 1} 0 R >>"
        )
        parts.append(stream(content))
    return written(parts)


def stream(content: str, fields: str = "") -> str:
    return f"<< {fields} /Length {len(content)} >>\nstream\n{content}\nendstream"


def written(parts: Sequence[str], trailer: str = "") -> bytes:
    """Return objects as a file, numbered from 1; the first is the catalog."""
    text, offsets = "%PDF-1.7\n", []
    for number, part in enumerate(parts, 1):
        offsets.append(len(text))
        text += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"trailer << /Size {len(parts) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{len(text)}\n%%EOF"
    return f"{text}xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}{end}".encode("latin-1")


def endless() -> bytes:
    """Return a page that takes minutes: the whole of it is painted over some hundred thousand times."""
    return document(["1 0 0 rg\n" + "0 0 595 842 re f\n" * 300_000])


def greedy() -> bytes:
    """Return a page of a million million lines in a few hundred bytes: a form of ten forms of ten, and so on."""
    depth = 12
    forms = []
    for level in range(depth):
        last = level == depth - 1
        content = "0 0 9 9 re f " * 10 if last else "/X Do " * 10
        names = "" if last else f"/Resources << /XObject << /X {4 + level + 1} 0 R >> >>"
        forms.append(stream(content, f"/Type /XObject /Subtype /Form /BBox [0 0 600 900] {names}"))
    return document(["/X Do"], more=forms, named="/X 4 0 R")


def hungry() -> bytes:
    """Return a page with a picture that says it has three thousand million pixels."""
    fields = (
        "/Type /XObject /Subtype /Image /Width 60000 /Height 50000 /BitsPerComponent 8 /ColorSpace /DeviceRGB"
        " /Filter /ASCIIHexDecode"
    )
    return document(["600 0 0 800 0 0 cm /X Do"], more=[stream("ff>", fields)], named="/X 4 0 R")


def locked() -> bytes:
    """Return a document that opens only with a password that nobody was told."""
    encrypt = f"/Filter /Standard /V 1 /R 2 /O <{'5a' * 32}> /U <{'a5' * 32}> /P -4"
    parts = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
             "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>", f"<< {encrypt} >>"]  # fmt: skip
    return written(parts, f"/Encrypt 4 0 R /ID [<{'00' * 16}> <{'00' * 16}>]")
