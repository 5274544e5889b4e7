// openid-client 6: node openid_connect.mjs ISSUER [RS256|ES256]
// Discovers, registers, sends the person to sign in with the BROWSER program, has the library check the ID token against
// the published keys, asks UserInfo, refreshes. Prints one JSON line: {"issuer", "algorithm", "claims", "userinfo",
// "refreshed", "idToken", "logout"}.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import * as openid from "openid-client";

const [issuer, algorithm = "RS256"] = process.argv.slice(2);
const execute = [openid.allowInsecureRequests, openid.enableNonRepudiationChecks];

let answer;
const answered = new Promise((resolve) => (answer = resolve));
const server = createServer((request, response) => {
  response.end("You can close this window.");
  answer(request.url);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const redirect_uri = `http://127.0.0.1:${server.address().port}/callback`;
const post_logout_redirect_uri = "https://app.example/bye";

const config = await openid.dynamicClientRegistration(
  new URL(issuer),
  {
    client_name: "openid-client",
    redirect_uris: [redirect_uri],
    grant_types: ["authorization_code", "refresh_token"],
    token_endpoint_auth_method: "none",
    id_token_signed_response_alg: algorithm,
    post_logout_redirect_uris: [post_logout_redirect_uri],
  },
  openid.None(),
  { execute },
);

const pkceCodeVerifier = openid.randomPKCECodeVerifier();
const expectedNonce = openid.randomNonce();
const expectedState = openid.randomState();
const url = openid.buildAuthorizationUrl(config, {
  redirect_uri,
  scope: "openid profile email mcp:tools",
  code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: "S256",
  nonce: expectedNonce,
  state: expectedState,
  max_age: "3600",
});
spawn(process.env.BROWSER, [url.href], { stdio: "inherit" }).on("exit", (code) => code === 0 || process.exit(1));

const checks = { pkceCodeVerifier, expectedNonce, expectedState, maxAge: 3600, idTokenExpected: true };
const tokens = await openid.authorizationCodeGrant(config, new URL(await answered, redirect_uri), checks);
const claims = tokens.claims();
const userinfo = await openid.fetchUserInfo(config, tokens.access_token, claims.sub);
const later = await openid.refreshTokenGrant(config, tokens.refresh_token);
const logout = openid.buildEndSessionUrl(config, {
  id_token_hint: later.id_token,
  post_logout_redirect_uri,
  state: "after",
});
console.log(
  JSON.stringify({
    issuer: config.serverMetadata().issuer,
    algorithm: JSON.parse(Buffer.from(tokens.id_token.split(".")[0], "base64url")).alg,
    claims,
    userinfo,
    refreshed: later.claims(),
    idToken: later.id_token,
    logout: logout.href,
  }),
);
server.close();
