// A page with the component of examples/react.
import { id, said } from "./own_server.mjs";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { Chat } from "./Chat.jsx";

createRoot(document.querySelector("#app")).render(createElement(Chat, { id, initialMessages: said() }));
