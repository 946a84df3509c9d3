"""Answers with status 200 and without a page, one for each kind known to clean.

They are longer than the shortest document, so that only their kind keeps them out of the corpus.
"""

from __future__ import annotations

from typing import Final

# Words of a site's frame, which make an answer as long as a short page.
FRAME: Final = (
    "<p>Our shop has been open since 1987 and sells lamps, chairs and clocks of every size. "
    "Visit us on Market Street from Monday to Saturday, or write to us, and we will answer within "
    "two days. All prices include taxes, and every delivery within the city is free of charge.</p>"
)
# Reason to title and body.
ANSWERS: Final[dict[str, tuple[str, str]]] = {
    "bot_wall": (
        "Attention Required! | Cloudflare",
        "<h1>Why do I have to complete a CAPTCHA?</h1><p>Completing the CAPTCHA proves you are a "
        "human and gives you temporary access to the web property.</p><p>If you are on a personal "
        "connection, you can run an anti-virus scan on your device to make sure it is not infected. "
        "If you are at an office, ask the network administrator to run a scan.</p>",
    ),
    "js_required": (
        "Lamps and clocks",
        "<noscript>You need to enable JavaScript to run this app.</noscript><div id=root></div>"
        "<script src=/main.js></script>",
    ),
    "parked": (
        "lampsandclocks.test is for sale",
        "<p>This domain is for sale. Buy this domain now, or make an offer to its owner. Payment "
        "plans are available, and the transfer takes a day.</p>" + FRAME,
    ),
    "soft_404": (
        "Page not found - Lamps and clocks",
        "<h1>Page not found</h1><p>Sorry, the page you are looking for could not be found. It may "
        "have been moved or deleted. Check the address, or return to our home page.</p>" + FRAME,
    ),
    "server_default": (
        "Welcome to nginx!",
        "<h1>Welcome to nginx!</h1><p>If you see this page, the nginx web server is successfully "
        "installed and working. Further configuration is required.</p><p>For online documentation "
        "and support please refer to nginx.org. Commercial support is available.</p><p>Thank you "
        "for using nginx.</p>",
    ),
    "login_wall": (
        "Log in - Lamps and clocks",
        "<h1>Log in</h1><p>You must be logged in to view this page.</p><form>Username <input> "
        "Password <input type=password> <a href=/lost>Forgot your password?</a> Remember me. "
        "Not a member? Create an account.</form>" + FRAME,
    ),
    "consent_wall": (
        "Before you continue to Lamps and clocks",
        "<h1>Before you continue</h1><p>We use cookies and data to deliver our services, to measure "
        "audiences and to show personalised ads. We and our partners store your privacy settings. "
        "Accept all, reject all, or manage options. Read our cookie policy and privacy policy, and "
        "give consent below to go on to the shop.</p>",
    ),
    "paywall_teaser": (
        "The clock that stopped",
        "<p>For a hundred years the clock on the town hall kept its time, until one morning.</p>"
        "<p>To continue reading this article, subscribe now. Already a subscriber? Log in. You have "
        "reached your limit of free articles this month.</p>",
    ),
    "age_gate": (
        "Age verification",
        "<h1>Are you over 18?</h1><p>You must be at least 18 years of age to enter this site. Please "
        "confirm your age. I am over 18: enter. I am under 18: leave.</p>",
    ),
    "geo_block": (
        "Not available",
        "<h1>Sorry</h1><p>This content is not available in your country. Access from your location "
        "is restricted because of licensing restrictions.</p>",
    ),
    "error_page": (
        "Down for maintenance",
        "<h1>We will be back soon</h1><p>The site is down for maintenance. Please try again "
        "later.</p>" + FRAME,
    ),
    "redirect_stub": (
        "Object moved",
        "<h1>Object moved</h1><p>This object may be found <a href=/new>here</a>.</p>",
    ),
    "hijacked": (
        "Situs slot gacor hari ini",
        "<p>Daftar slot online terpercaya, link slot gacor, judi online, togel, maxwin, rtp slot, "
        "deposit pulsa, bonus new member, scatter, server thailand.</p>",
    ),
}


def page(reason: str) -> bytes:
    """The answer of a kind, as HTML."""
    title, body = ANSWERS[reason]
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>".encode()
