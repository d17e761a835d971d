"""What stands between: firewalls, proxies, gateways that have no answer of their own."""

from aboutness_local import writer
from tests.endpoints.case import (
    UNWELCOME,
    Case,
    FailsAlone,
    Fills,
    Provider,
    Request,
    Rule,
    Stops,
    always,
    chat,
    first,
    html,
    texts_above,
    unwelcome,
)
from tests.support.backfills import sample_songs

_UNWELCOME_TEXT = next(
    writer.write(title or "", artist or "").moments_text
    for _, title, artist in sample_songs(12)
    if title == UNWELCOME
)


def _text_of_unwelcome(request: Request) -> bool:
    return _UNWELCOME_TEXT in request.texts


NETWORK = Provider(
    "Firewalls, proxies, Cloudflare",
    "",
    (
        Case(
            "a firewall blocks the requests about one title (403 with a page of HTML)",
            "https://developers.cloudflare.com/waf/managed-rules/",
            (Rule(unwelcome, html(403, "Attention Required!", "<p>You have been blocked.</p>")),),
            FailsAlone("403"),
        ),
        Case(
            "a firewall blocks the vectors of one text (403 with a page of HTML)",
            "https://developers.cloudflare.com/waf/managed-rules/",
            (Rule(_text_of_unwelcome, html(403, "Request blocked", "Your support ID is 1234.")),),
            FailsAlone("", ("embedding",)),
        ),
        Case(
            "a firewall blocks every request (403 with a page of HTML)",
            "https://developers.cloudflare.com/cloudflare-challenges/",
            (Rule(always, html(403, "Just a moment...", "Enable JavaScript and cookies to continue.")),),
            Stops("403"),
        ),
        Case(
            "one title is not available for legal reasons (451)",
            "https://www.rfc-editor.org/rfc/rfc7725",
            (Rule(unwelcome, html(451, "Unavailable For Legal Reasons")),),
            FailsAlone("451"),
        ),
        Case(
            "Cloudflare cannot reach the server now and then (520, 522, 524)",
            "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/",
            (
                Rule(first(1), html(520, "Web server is returning an unknown error")),
                Rule(first(2), html(522, "Connection timed out")),
                Rule(first(3), html(524, "A timeout occurred")),
            ),
            Fills(more_requests=3),
        ),
        Case(
            "a gateway has no server behind it now and then (502)",
            "https://nginx.org/en/docs/http/ngx_http_upstream_module.html",
            (Rule(first(2), html(502, "Bad Gateway", "<hr>nginx")),),
            Fills(more_requests=2),
        ),
        Case(
            "a proxy limits the size of a request (413 with a page of HTML)",
            "https://nginx.org/en/docs/http/ngx_http_core_module.html#client_max_body_size",
            (Rule(texts_above(12), html(413, "Request Entity Too Large")),),
            Fills(more_requests=5),
        ),
        Case(
            "a proxy wants a password (407)",
            "https://www.rfc-editor.org/rfc/rfc9110#status.407",
            (Rule(always, html(407, "Proxy Authentication Required")),),
            Stops("407"),
        ),
        Case(
            "nothing is served at this address (404 with a page of HTML)",
            "https://www.rfc-editor.org/rfc/rfc9110#status.404",
            (Rule(always, html(404, "404 Not Found")),),
            Stops("OPENAI_BASE_URL", requests=8),
        ),
        Case(
            "nothing takes a POST at this address (405 with a page of HTML)",
            "https://www.rfc-editor.org/rfc/rfc9110#status.405",
            (Rule(always, html(405, "Method Not Allowed")),),
            Stops("405", requests=8),
        ),
        Case(
            "every request leads to the page of a log-in (200 with a page of HTML)",
            "https://www.rfc-editor.org/rfc/rfc8952",
            (Rule(chat, html(200, "Sign in", "<form>…</form>")),),
            Stops("not an answer", requests=60),
        ),
    ),
)
