// openid-client, as a command line tool without a redirect uses it (RFC 8628): node device.mjs ISSUER RESOURCE
// Registers, asks for a code, opens the BROWSER program with the complete URI, polls, calls protected-data, refreshes,
// calls it again, and revokes. Prints one JSON line: {"asked", "tokens", "results", "afterwards"}.
import { spawn } from "node:child_process";
import * as client from "openid-client";

const [issuer, resource] = process.argv.slice(2);
const config = await client.dynamicClientRegistration(
  new URL(issuer),
  {
    client_name: "openid-client device driver",
    grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
    response_types: [],
    token_endpoint_auth_method: "none",
  },
  client.None(),
  // The server of the test is on this machine, without TLS.
  { algorithm: "oauth2", execute: [client.allowInsecureRequests] },
);

const call = async (token) => {
  const response = await client.fetchProtectedResource(
    config,
    token,
    new URL(resource),
    "POST",
    JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "protected-data", arguments: {} } }),
    new Headers({ "content-type": "application/json", accept: "application/json, text/event-stream" }),
  );
  const text = await response.text();
  return JSON.parse(text.slice(text.indexOf("{"))).result;
};

const asked = await client.initiateDeviceAuthorization(config, { scope: "mcp:tools", resource });
spawn(process.env.BROWSER, [asked.verification_uri_complete], { stdio: "ignore" });
const tokens = await client.pollDeviceAuthorizationGrant(config, asked);
const results = [await call(tokens.access_token)];
const newer = await client.refreshTokenGrant(config, tokens.refresh_token, { resource });
results.push(await call(newer.access_token));
await client.tokenRevocation(config, newer.refresh_token);
const afterwards = await call(newer.access_token).then(
  () => "still works",
  (error) => error.cause?.[0]?.parameters?.error ?? error.code,
);
const { device_code: _, ...told } = asked;
console.log(JSON.stringify({ asked: told, tokens: { scope: tokens.scope, type: tokens.token_type }, results, afterwards }));
