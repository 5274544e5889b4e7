// TypeScript SDK v2 (both eras on one endpoint): its handler behind its own Express adapter and bearer middleware, all
// with their defaults, which are a JSON reply in the new era and an event stream in the older one.
import { createMcpExpressApp, requireBearerAuth } from "@modelcontextprotocol/express";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, McpServer, OAuthError, OAuthErrorCode } from "@modelcontextprotocol/server";
import { z } from "zod";
import { outputSchema, port, publicInfo, verifier } from "./shared.mjs";

const output = z.object(outputSchema);
const handler = toNodeHandler(
  createMcpHandler(() => {
    const server = new McpServer({ name: "peer", version: "1.0.0" });
    server.registerTool(
      "public-info",
      { title: "About this server", description: "Tell which server this is.", outputSchema: output },
      publicInfo,
    );
    return server;
  }),
);
const bearer = requireBearerAuth({
  verifier: verifier(() => new OAuthError(OAuthErrorCode.InvalidToken, "unknown")),
  requiredScopes: ["mcp:tools"],
});

const app = createMcpExpressApp();
app.post("/star", bearer, (request, response) => handler(request, response, request.body));
app.listen(port, "127.0.0.1");
