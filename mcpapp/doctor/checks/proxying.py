"""Lines for the proxies that sites stand behind; 127.0.0.1:8000 is where the application listens."""

from __future__ import annotations

FORWARD_ALL = """\
nginx    location / {
             proxy_pass http://127.0.0.1:8000;
             proxy_http_version 1.1;
             proxy_set_header Host $host;
             proxy_set_header X-Forwarded-Proto $scheme;
             proxy_set_header X-Forwarded-For $remote_addr;
             proxy_set_header Authorization $http_authorization;
             proxy_buffering off;
         }
Caddy    <HOST> {
             reverse_proxy 127.0.0.1:8000
         }
Traefik  http:
           routers:
             star: { rule: "Host(`<HOST>`)", service: star }
           services:
             star: { loadBalancer: { passHostHeader: true, servers: [ { url: "http://127.0.0.1:8000" } ] } }"""

NO_SLASH_REDIRECT = """\
nginx    location = <PATH> { proxy_pass http://127.0.0.1:8000; }   # a `location <PATH>/` alone redirects
Caddy    handle <PATH>* {                                     # not `handle_path`, no `redir`
             reverse_proxy 127.0.0.1:8000
         }
Traefik  rule: "Host(`<HOST>`) && PathPrefix(`<PATH>`)"       # no redirectRegex on this router"""

ERRORS_COME_THROUGH = """\
nginx    proxy_intercept_errors off;      # and no `proxy_hide_header WWW-Authenticate;`
Caddy    no `handle_response`, no `header_down -WWW-Authenticate` in `reverse_proxy`
Traefik  no `errors` middleware, no WWW-Authenticate: "" under customResponseHeaders"""

WELL_KNOWN_IS_ROUTED = """\
nginx    location /.well-known/oauth- { proxy_pass http://127.0.0.1:8000; }
         location = /.well-known/openid-configuration { proxy_pass http://127.0.0.1:8000; }
Caddy    handle /.well-known/o* {
             reverse_proxy 127.0.0.1:8000
         }
Traefik  rule: "Host(`<HOST>`) && PathPrefix(`/.well-known/`)\""""

AUTHORIZATION_COMES_THROUGH = """\
nginx    proxy_set_header Authorization $http_authorization;
Caddy    no `header_up -Authorization` and no `basic_auth` on this site
Traefik  no basicAuth or digestAuth middleware on this router; they take the header for themselves
Apache   SetEnvIf Authorization "(.*)" HTTP_AUTHORIZATION=$1"""

NO_CACHE = """\
nginx    proxy_cache off;                 # for /o/, /token and <PATH>
Caddy    no `cache` directive on these paths
Traefik  no cache plugin on this router"""
