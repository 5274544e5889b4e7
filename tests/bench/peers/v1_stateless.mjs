// TypeScript SDK v1, stateless: a server and a transport for each request, as the SDK's own example has it. JSON replies,
// which cost it less than its default of event streams.
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { port } from "./shared.mjs";
import { app, bearer, newServer } from "./v1_server.mjs";

app.post("/star", bearer, async (request, response) => {
  const server = newServer();
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  response.on("close", () => {
    transport.close();
    server.close();
  });
  await server.connect(transport);
  await transport.handleRequest(request, response, request.body);
});

app.listen(port, "127.0.0.1");
