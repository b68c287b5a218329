import { ThroughlineChat } from "./chat.ts";

if (!customElements.get("throughline-chat")) customElements.define("throughline-chat", ThroughlineChat);
