// What both TypeScript SDK drivers share: an OAuth provider that opens the BROWSER program, its loopback callback, and
// the steps of a program that connects, lists the tools, makes each --call NAME[=ARGUMENTS] (protected-data if there is
// none) and lists them again. Where the SDK says that somebody must sign in, the program waits for that and tries once
// more. Prints one JSON line: {"version", "tools", "toolsAfterwards", "scope", "calls", "connecting"}; a call is
// {"result", "scope", "requests"} or has an "error" in place of a result, and `scope` is that of the token then held.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

class Provider {
  // With a state file, a second run of the program is the same client after a restart. A forgetful one keeps no refresh
  // token.
  constructor(redirectUrl, stateFile, forgetful) {
    this.redirectUrl = redirectUrl;
    this.stateFile = stateFile;
    this.forgetful = forgetful;
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
    const { refresh_token: _, ...withoutRefreshToken } = tokens;
    this.keep("tokens", this.forgetful ? withoutRefreshToken : tokens);
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

// Each sign-in is one callback; `answered` is a promise of the next.
function listenForCallback() {
  return new Promise((ready) => {
    const callback = {};
    let answer;
    const waitForNext = () => (callback.answered = new Promise((resolve) => (answer = resolve)));
    waitForNext();
    const server = createServer((request, response) => {
      response.end("You can close this window.");
      answer(new URL(request.url, "http://localhost").searchParams);
    });
    server.listen(0, "127.0.0.1", () => {
      const url = `http://localhost:${server.address().port}/callback`;
      ready(Object.assign(callback, { url, waitForNext, close: () => server.close() }));
    });
  });
}

// newClient(era) makes an SDK client, newTransport(url, options) its transport, finish(transport, answer) redeems.
export async function run({ newClient, newTransport, finish, UnauthorizedError }) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      state: { type: "string" },
      era: { type: "string", default: "auto" },
      call: { type: "string", multiple: true, default: ["protected-data"] },
      forgetful: { type: "boolean" },
    },
  });
  const url = new URL(positionals[0]);
  const callback = await listenForCallback();
  const authProvider = new Provider(callback.url, values.state, values.forgetful);

  let requests = [];
  const recordingFetch = async (input, init) => {
    const response = await fetch(input, init);
    requests.push(`${init?.method ?? "GET"} ${new URL(input.url ?? input).pathname} ${response.status}`);
    return response;
  };
  const seen = () => requests.splice(0);

  let client = newClient(values.era);
  let transport = newTransport(url, { authProvider, fetch: recordingFetch });

  const signingIn = async (attempt, prepare = async () => {}) => {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      const answer = await callback.answered;
      callback.waitForNext();
      if (answer.get("state") !== authProvider.expectedState) throw new Error(`not our state: ${answer}`);
      await finish(transport, answer);
      await prepare();
      return await attempt();
    }
  };

  await signingIn(
    () => client.connect(transport),
    () => {
      client = newClient(values.era);
      transport = newTransport(url, { authProvider, fetch: recordingFetch });
    },
  );
  const names = async () => (await client.listTools()).tools.map((tool) => tool.name);
  const scope = () => authProvider.tokens()?.scope;
  const tools = await names();
  const connecting = seen();

  const calls = [];
  for (const wanted of values.call) {
    const [name, given] = wanted.split(/=(.*)/s);
    const call = { name, arguments: given ? JSON.parse(given) : {} };
    const outcome = await signingIn(() => client.callTool(call)).then(
      (result) => ({ result }),
      (error) => ({ error: `${error.constructor.name} ${error.code ?? ""}: ${error.message}` }),
    );
    calls.push({ ...outcome, scope: scope(), requests: seen() });
  }
  const toolsAfterwards = await names();
  const version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
  console.log(JSON.stringify({ version, tools, toolsAfterwards, scope: scope(), calls, connecting }));
  await client.close();
  callback.close();
}
