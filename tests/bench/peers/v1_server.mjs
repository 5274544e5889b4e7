// The TypeScript SDK v1's server with the one tool: what v1_stateless.mjs and v1_sessions.mjs both build.
import { InvalidTokenError } from "@modelcontextprotocol/sdk/server/auth/errors.js";
import { requireBearerAuth } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js";
import { createMcpExpressApp } from "@modelcontextprotocol/sdk/server/express.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import { outputSchema, publicInfo, verifier } from "./shared.mjs";

export const app = createMcpExpressApp();

export const bearer = requireBearerAuth({
  verifier: verifier(() => new InvalidTokenError("unknown")),
  requiredScopes: ["mcp:tools"],
});

// By default each server makes a validator of its own, and stateless ones are made for each request.
const options = process.env.BENCH_SHARED_VALIDATOR ? { jsonSchemaValidator: new AjvJsonSchemaValidator() } : {};

export const newServer = () => {
  const server = new McpServer({ name: "peer", version: "1.0.0" }, options);
  server.registerTool("public-info", { title: "About this server", description: "Tell which server this is.", outputSchema }, publicInfo);
  return server;
};
