"""What to write into nginx, Caddy and Traefik to mend an edge, as data.

Lines for nginx belong into `server { }`; those for Caddy into the block of the site, or are global options where they
begin with a brace; those for Traefik are of its file provider, or of its static file where they begin with entryPoints.
A location for nginx has all lines of that in deploy/nginx.conf: one `proxy_set_header` cancels those outside of it, and
what a client says of its own address would come through. Tests let the real programs, and the schema of Traefik, check
each. `star.example`, `/star` and 127.0.0.1:8000 stand for the site, the endpoint and the application.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

_UPSTREAM = "127.0.0.1:8000"
_TO_APPLICATION = (
    f"proxy_pass http://{_UPSTREAM};",
    "proxy_http_version 1.1;",
    'proxy_set_header Connection "";',
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $remote_addr;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
    'proxy_set_header X-Forwarded-Host "";',
    'proxy_set_header Forwarded "";',
    "proxy_buffering off;",
    "proxy_connect_timeout 5s;",
    "proxy_read_timeout 60s;",
)
_NAME_THE_PROXY = f"# start the application with: uvicorn … --forwarded-allow-ips={_UPSTREAM.partition(':')[0]}"
_NEVER_ALL = "# never --forwarded-allow-ips='*': name the address of the proxy"


class Lines(NamedTuple):
    """The lines of one fix."""

    nginx: str
    caddy: str
    traefik: str


def _text(*lines: str) -> str:
    return "\n".join(lines)


def _nginx(*lines: str, path: str = "/", above: str = "") -> str:
    """Return a whole location; of its lines, those that are given replace those of the same name."""
    given = {_directive(line) for line in lines}
    inside = [*(line for line in _TO_APPLICATION if _directive(line) not in given), *lines]
    location = _text(f"location {path} {{", *(f"    {line}" for line in inside), "}")
    return f"{above}\n{location}" if above else location


def _directive(line: str) -> str:
    words = line.split()
    return " ".join(words[:2]) if words[0] == "proxy_set_header" else words[0]


def _caddy(*lines: str) -> str:
    if not lines:
        return f"reverse_proxy {_UPSTREAM}"
    return _text(f"reverse_proxy {_UPSTREAM} {{", *(f"    {line}" for line in lines), "}")


def _caddy_takes_out(what: str) -> str:
    return _text(f"# take out {what}", _caddy())


def _traefik(*of_service: str, rule: str = "", without: str = "") -> str:
    """Return a router and its service; `without` says which middlewares it must not have."""
    router = [f"      rule: Host(`star.example`){rule}", "      service: star", "      tls: {}"]
    if rule:
        router.append("      priority: 1000")
    if without:
        router.append(f"      middlewares: []  # without {without}")
    service = ["      loadBalancer:", "        servers:", f"          - url: http://{_UPSTREAM}"]
    own = (f"        {line}" for line in of_service)
    return _text("http:", "  routers:", "    star:", *router, "  services:", "    star:", *service, *own)


def _traefik_middleware(name: str, *lines: str) -> str:
    return _text("http:", "  middlewares:", f"    star-{name}:", *(f"      {line}" for line in lines))


def _traefik_entry(*lines: str) -> str:
    return _text("entryPoints:", "  websecure:", '    address: ":443"', *(f"    {line}" for line in lines))


FIXES: dict[str, Lines] = {
    "host": Lines(
        _nginx(),
        _caddy("header_up Host {http.request.hostport}"),
        _traefik("passHostHeader: true", without="headers that sets Host"),
    ),
    "forwarded": Lines(
        _nginx(above=_NAME_THE_PROXY),
        _text(_NAME_THE_PROXY, _caddy_takes_out("header_up -X-Forwarded-…: Caddy sends both by itself")),
        _text(_NAME_THE_PROXY, _traefik(without="headers that sets X-Forwarded-…: Traefik sends both by itself")),
    ),
    "forged": Lines(
        _nginx(above=_NEVER_ALL),
        _text(_NEVER_ALL, _caddy("header_up X-Forwarded-For {http.request.remote.host}")),
        _text(_NEVER_ALL, _traefik_entry("forwardedHeaders:", "  insecure: false")),
    ),
    "path": Lines(
        _nginx(above="# no slash and no path after the port of proxy_pass: they replace the path"),
        _text("handle {  # not handle_path, no uri strip_prefix", f"    reverse_proxy {_UPSTREAM}", "}"),
        _traefik(without="stripPrefix, addPrefix and replacePath"),
    ),
    "well-known": Lines(
        _text(
            _nginx(path="^~ /.well-known/oauth-protected-resource"),
            _nginx(path="^~ /.well-known/oauth-authorization-server"),
            _nginx(path="^~ /.well-known/openid-configuration"),
        ),
        _text(
            "@discovery path /.well-known/oauth-protected-resource* /.well-known/oauth-authorization-server* \\",
            "    /.well-known/openid-configuration*",
            "handle @discovery {",
            f"    reverse_proxy {_UPSTREAM}",
            "}",
        ),
        _traefik(rule=" && PathRegexp(`^/\\.well-known/(oauth-|openid-configuration)`)"),
    ),
    "slash": Lines(
        _text(_nginx(path="= /star"), _nginx(path="= /star/")),
        _text("@star path /star /star/  # above any redir", "handle @star {", f"    reverse_proxy {_UPSTREAM}", "}"),
        _traefik(rule=" && (Path(`/star`) || Path(`/star/`))", without="redirectRegex"),
    ),
    "redirect": Lines(
        _text(
            "# in the server that listens on port 80; 301 and 302 turn a POST into a GET",
            "return 308 https://$host$request_uri;",
        ),
        _text(
            "# Caddy does so by itself; as a line of your own:",
            "@plain protocol http",
            "redir @plain https://{host}{uri} 308",
        ),
        _text(
            "entryPoints:",
            "  web:",
            '    address: ":80"',
            "    http:",
            "      redirections:",
            "        entryPoint:",
            "          to: websecure",
            "          scheme: https",
            "          permanent: true",
            "  websecure:",
            '    address: ":443"',
        ),
    ),
    "authorization": Lines(
        _nginx("proxy_set_header Authorization $http_authorization;", "auth_basic off;"),
        _caddy_takes_out("basicauth, forward_auth and header_up -Authorization"),
        _traefik(without="basicAuth, forwardAuth and headers that sets Authorization"),
    ),
    "request-headers": Lines(
        _nginx("proxy_pass_request_headers on;", above="# without proxy_set_header that makes one of them empty"),
        _caddy_takes_out("header_up -… and request_header -…"),
        _traefik(without="headers whose customRequestHeaders are empty"),
    ),
    "methods": Lines(
        _nginx(above="# without limit_except and if ($request_method …)"),
        _text("handle {  # without a matcher on the method", f"    reverse_proxy {_UPSTREAM}", "}"),
        _text("# without Method(…) in the rule", _traefik()),
    ),
    "upstream-http": Lines(
        _nginx(),
        _text("# HTTP/1.1 by itself", _caddy()),
        _text("# HTTP/1.1 by itself", _traefik()),
    ),
    "response-headers": Lines(
        _nginx(
            "proxy_pass_header WWW-Authenticate;", "proxy_pass_header Mcp-Session-Id;", above="# no proxy_hide_header"
        ),
        _caddy_takes_out("header_down -… and header -…"),
        _traefik(without="headers whose customResponseHeaders are empty"),
    ),
    "error-pages": Lines(
        _nginx("proxy_intercept_errors off;"),
        _caddy_takes_out("handle_response for 4xx"),
        _traefik_middleware(
            "error-pages",
            "errors:",
            '  status: ["502-504"]  # never 401 and 403: clients need the answer of the application',
            "  service: error-pages",
            "  query: /{status}.html",
        ),
    ),
    "cache": Lines(
        _nginx("proxy_cache off;"),
        _caddy_takes_out("cache (of cache-handler)"),
        _traefik(without="a plugin that caches"),
    ),
    "buffering": Lines(
        _nginx("proxy_cache off;", "gzip off;", "proxy_read_timeout 1h;"),
        _caddy("flush_interval -1"),
        _traefik("responseForwarding:", '  flushInterval: "-1ms"', without="buffering: it waits for the whole answer"),
    ),
    "compression": Lines(
        _nginx("gzip off;  # or leave text/event-stream out of gzip_types"),
        _text("@compressed not path /star /star/", "encode @compressed gzip zstd", _caddy()),
        _traefik_middleware("compression", "compress:", "  excludedContentTypes:", "    - text/event-stream"),
    ),
    "body": Lines(
        _nginx("client_max_body_size 5m;"),
        _text("request_body {", "    max_size 5MiB", "}", _caddy()),
        _traefik_middleware("body", "buffering:", "  maxRequestBodyBytes: 5242880"),
    ),
    "header-size": Lines(
        _text(
            "# in the first server of the address, too: that one decides, before the name is known",
            "large_client_header_buffers 4 32k;",
        ),
        _text("{", "    servers {", "        max_header_size 64KB", "    }", "}"),
        _traefik_entry("http:", "  maxHeaderBytes: 65536"),
    ),
    "user-agents": Lines(
        _text(
            "# what looks at $http_user_agent belongs into `location /`, not into `server`",
            _nginx(path="~ ^/star/?$"),
            _nginx(path="/o/"),
            _nginx(path="/.well-known/"),
            "# Cloudflare: a WAF custom rule with the action Skip (and Bot Fight Mode off), above the others, for",
            '#   starts_with(http.request.uri.path, "/star") or starts_with(http.request.uri.path, "/o/")',
            '#   or starts_with(http.request.uri.path, "/.well-known/")',
        ),
        _text(
            "@machines path /star /star/ /o/* /.well-known/*",
            "handle @machines {  # above what matches header_regexp User-Agent",
            f"    reverse_proxy {_UPSTREAM}",
            "}",
        ),
        _traefik(rule=" && PathRegexp(`^(/star/?$|/o/|/\\.well-known/)`)", without="bot filters and firewalls"),
    ),
    "cors": Lines(
        _nginx(above="# without add_header Access-Control-… and without an answer of its own to OPTIONS"),
        _caddy_takes_out("header Access-Control-… and respond to OPTIONS"),
        _traefik(without="headers with accessControl…, which answers OPTIONS itself"),
    ),
    "certificate": Lines(
        _text(
            "# fullchain.pem: cert.pem lacks the intermediate certificate. To renew: certbot renew && nginx -s reload",
            "ssl_certificate /etc/letsencrypt/live/star.example/fullchain.pem;",
            "ssl_certificate_key /etc/letsencrypt/live/star.example/privkey.pem;",
        ),
        _text(
            "# Caddy gets and renews one by itself; one of your own, with its intermediate certificate:",
            "tls /etc/ssl/star.example/fullchain.pem /etc/ssl/star.example/privkey.pem",
        ),
        _text(
            "tls:",
            "  certificates:",
            "    - certFile: /etc/ssl/star.example/fullchain.pem",
            "      keyFile: /etc/ssl/star.example/privkey.pem",
        ),
    ),
    "http2": Lines(
        "listen 443 ssl http2;  # from nginx 1.25.1 on: listen 443 ssl; and http2 on;",
        _text("# HTTP/2 by itself", _caddy()),
        _text("# HTTP/2 by itself", _traefik()),
    ),
    "ipv6": Lines(
        "listen [::]:443 ssl;  # beside listen 443 ssl;",
        "bind 0.0.0.0 [::]",
        _text("# no IPv4 address before the port", _traefik_entry()),
    ),
}


_PATH = re.compile(r"/star(/?)(?![\w.-])")


def fix(name: str, url: str, say: str) -> str:
    """Return what to change for an endpoint: a sentence, then the lines for each proxy."""
    parts = urlsplit(url)
    path = "/" + parts.path.strip("/")
    lines = [say]
    for title, text in zip(("nginx", "Caddy", "Traefik"), FIXES[name], strict=True):
        lines.append(f"{title}:")
        for line in text.splitlines():
            own = _PATH.sub("/" if path == "/" else path + r"\g<1>", line)
            lines.append("  " + own.replace("star.example", parts.hostname or ""))
    return "\n".join(lines)
