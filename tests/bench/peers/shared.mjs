// What the three servers share: the tool's answer, and the cheapest verifier of tokens there can be, a constant in memory.
import { z } from "zod";

export const port = Number(process.argv[2]);
export const resource = process.env.BENCH_RESOURCE;
export const outputSchema = { server: z.string(), resource: z.string(), time: z.string() };

export const publicInfo = async () => {
  const answer = { server: "Star", resource, time: new Date().toISOString().slice(0, 19) + "+00:00" };
  return { content: [{ type: "text", text: JSON.stringify(answer) }], structuredContent: answer };
};

const known = new Map([
  [process.env.BENCH_TOKEN, { clientId: "client", scopes: ["mcp:tools"], expiresAt: Math.floor(Date.now() / 1000) + 36000 }],
]);

// Each SDK wants an error class of its own, so it is given.
export const verifier = (InvalidToken) => ({
  async verifyAccessToken(token) {
    const found = known.get(token);
    if (found === undefined) throw InvalidToken();
    return { token, ...found };
  },
});
