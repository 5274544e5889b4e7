// The official TypeScript SDK, version 2:
// node typescript_v2.mjs URL [--state FILE] [--call TOOL]... [--forgetful] [--era legacy|auto|2026-07-28]
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { run } from "./sign_in.mjs";

const mode = (era) => (["legacy", "auto"].includes(era) ? era : { pin: era });

await run({
  newClient: (era) =>
    new Client({ name: "typescript-v2-driver", version: "1.0.0" }, { versionNegotiation: { mode: mode(era) } }),
  newTransport: (url, options) => new StreamableHTTPClientTransport(url, options),
  finish: (transport, answer) => transport.finishAuth(answer),
  UnauthorizedError,
});
