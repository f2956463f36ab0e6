// A page with the component of examples/vue.
import { id, said } from "./own_server.mjs";
import { createApp } from "vue";
import Chat from "./Chat.vue";

createApp(Chat, { id, initialMessages: said() }).mount("#app");
