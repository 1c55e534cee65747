// Starts Swagger UI on this gateway's own description; nothing is asked of any other host.

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const explorer = document.getElementById("explorer");
SwaggerUIBundle({
  domNode: explorer,
  url: explorer.dataset.spec,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  onComplete: () => document.getElementById("servers")?.setAttribute("aria-label", "Servers"),
});
