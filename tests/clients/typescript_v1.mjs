// The official TypeScript SDK, version 1:
// node typescript_v1.mjs URL [--state FILE] [--call TOOL]... [--forgetful]
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { run } from "./sign_in.mjs";

await run({
  newClient: () => new Client({ name: "typescript-v1-driver", version: "1.0.0" }),
  newTransport: (url, options) => new StreamableHTTPClientTransport(url, options),
  finish: (transport, answer) => transport.finishAuth(answer.get("code")),
  UnauthorizedError,
});
