// A service built on openid-client: discovers the server from its issuer, gets a token of its own and prints the answer.
// Arguments: ISSUER CLIENT_ID, and in the environment CLIENT_SECRET or CLIENT_KEY (a private JWK), METHOD
// (client_secret_basic, client_secret_post), SCOPE, RESOURCE.
import { webcrypto } from "node:crypto";
import * as client from "openid-client";

const [issuer, clientId] = process.argv.slice(2);
const { CLIENT_SECRET: secret, CLIENT_KEY: jwk, METHOD: method, SCOPE: scope, RESOURCE: resource } = process.env;

async function authentication() {
  if (!jwk) return method === "client_secret_post" ? client.ClientSecretPost(secret) : client.ClientSecretBasic(secret);
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const key = await webcrypto.subtle.importKey("jwk", JSON.parse(jwk), algorithm, false, ["sign"]);
  return client.PrivateKeyJwt(key);
}

const config = await client.discovery(new URL(issuer), clientId, undefined, await authentication(), {
  algorithm: "oauth2",
  execute: [client.allowInsecureRequests],
});
const tokens = await client.clientCredentialsGrant(config, { scope, resource });
console.log(JSON.stringify(tokens));
