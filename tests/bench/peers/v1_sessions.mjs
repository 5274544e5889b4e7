// TypeScript SDK v1 with sessions in memory: one server and one transport for each client, kept. JSON replies.
import { randomUUID } from "node:crypto";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { isInitializeRequest } from "@modelcontextprotocol/sdk/types.js";
import { port } from "./shared.mjs";
import { app, bearer, newServer } from "./v1_server.mjs";

const transports = new Map();

app.post("/star", bearer, async (request, response) => {
  let transport = transports.get(request.headers["mcp-session-id"]);
  if (transport === undefined) {
    if (!isInitializeRequest(request.body)) {
      response.status(404).json({ jsonrpc: "2.0", error: { code: -32001, message: "Session not found" }, id: null });
      return;
    }
    const opened = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: true,
      onsessioninitialized: (id) => transports.set(id, opened),
    });
    transport = opened;
    await newServer().connect(transport);
  }
  await transport.handleRequest(request, response, request.body);
});

app.listen(port, "127.0.0.1");
