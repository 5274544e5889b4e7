// What both TypeScript SDK drivers share: an OAuth provider that opens the BROWSER program, its loopback callback,
// and the steps of a first connection. Prints one JSON line: {"version", "tools", "result"}.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

class Provider {
  // With a state file, a second run of the program is the same client after a restart.
  constructor(redirectUrl, stateFile) {
    this.redirectUrl = redirectUrl;
    this.stateFile = stateFile;
    this.kept = stateFile && existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, "utf8")) : {};
  }

  get clientMetadata() {
    return {
      client_name: "TypeScript SDK driver",
      redirect_uris: [this.redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
  }

  keep(name, value) {
    this.kept[name] = value;
    if (this.stateFile) writeFileSync(this.stateFile, JSON.stringify(this.kept));
  }

  state() {
    this.expectedState = randomUUID();
    return this.expectedState;
  }

  clientInformation() {
    return this.kept.client;
  }

  saveClientInformation(client) {
    this.keep("client", client);
  }

  tokens() {
    return this.kept.tokens;
  }

  saveTokens(tokens) {
    this.keep("tokens", tokens);
  }

  saveCodeVerifier(verifier) {
    this.verifier = verifier;
  }

  codeVerifier() {
    return this.verifier;
  }

  saveDiscoveryState(discovery) {
    this.discovery = discovery;
  }

  discoveryState() {
    return this.discovery;
  }

  redirectToAuthorization(url) {
    const browser = spawn(process.env.BROWSER, [url.href], { stdio: "inherit" });
    browser.on("exit", (code) => {
      // Nobody will call back: end now instead of waiting for it.
      if (code !== 0) process.exit(1);
    });
  }
}

function listenForCallback() {
  return new Promise((ready) => {
    let answer;
    const answered = new Promise((resolve) => (answer = resolve));
    const server = createServer((request, response) => {
      response.end("You can close this window.");
      answer(new URL(request.url, "http://localhost").searchParams);
    });
    server.listen(0, "127.0.0.1", () => {
      ready({ url: `http://localhost:${server.address().port}/callback`, answered, close: () => server.close() });
    });
  });
}

// newClient(era) makes an SDK client, newTransport(url, provider) its transport, finish(transport, answer) redeems.
export async function run({ newClient, newTransport, finish, UnauthorizedError }) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { state: { type: "string" }, era: { type: "string", default: "auto" } },
  });
  const url = new URL(positionals[0]);
  const callback = await listenForCallback();
  const provider = new Provider(callback.url, values.state);

  let client = newClient(values.era);
  let transport = newTransport(url, provider);
  try {
    await client.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    const answer = await callback.answered;
    if (answer.get("state") !== provider.expectedState) throw new Error(`not our state: ${answer}`);
    await finish(transport, answer);
    client = newClient(values.era);
    transport = newTransport(url, provider);
    await client.connect(transport);
  }

  const { tools } = await client.listTools();
  const result = await client.callTool({ name: "protected-data", arguments: {} });
  const version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
  console.log(JSON.stringify({ version, tools: tools.map((tool) => tool.name), result }));
  await client.close();
  callback.close();
}
